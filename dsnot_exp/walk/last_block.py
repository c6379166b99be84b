"""The end of a model's forward on hidden states that a walk has brought to its last block."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from torch import Tensor, nn

from dsnot_exp.walk.calls import Forward, replaced_forwards
from dsnot_exp.walk.sequences import Sequences


def from_last_block(
    sequences: Sequences, batch: int, hidden: Tensor
) -> AbstractContextManager[None]:
    """In this context the model's own forward on the input ids of a micro-batch computes only the
    last block, the norm and the head. The earlier blocks return their input, and the last one reads
    `hidden: (sequences, tokens, hidden)`."""
    last = len(sequences.blocks) - 1
    calls = [sequences.calls(index)[batch] for index in range(last + 1)]

    def stand_in(index: int, block: nn.Module, real: Forward) -> Forward:
        def forward(*args: Any, **kwargs: Any) -> Any:
            if index == last:
                return calls[index].run(real, hidden)
            return calls[index].as_returned(args[0] if args else kwargs["hidden_states"])

        return forward

    return replaced_forwards(sequences.blocks, stand_in)
