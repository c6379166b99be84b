"""Perplexity block by block: one block at a time is where the forward runs, and every batch passes
through it before the next is brought. The value is the whole model's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from dsnot_exp.capture import Call, Forward, capture, replaced_forwards
from dsnot_exp.errors import RunError
from dsnot_exp.evaluate.perplexity import exp_of_mean, losses
from dsnot_exp.ranks import ALONE, Ranks
from dsnot_exp.sequences import Fetch, resident


@torch.no_grad()
def streamed_perplexity(
    model: Any,
    blocks: tuple[str, nn.ModuleList],
    sequences: Tensor,
    batch_size: int,
    fetch: Fetch = resident,
    on_batch: Callable[[int], None] = lambda n: None,
    ranks: Ranks = ALONE,
) -> float:
    """As `perplexity`; `sequences: (sequences, S)`. `on_batch` hears of every sequence once per
    block."""
    name, members = blocks
    if not len(sequences):  # fewer sequences than processes
        return exp_of_mean([], on_batch, ranks)
    batches = [ids.to(model.device) for ids in sequences.split(batch_size)]
    hidden: list[Tensor] = []
    calls = capture(model, members, batches, hidden.append, fetch)
    for index, member in enumerate(members[:-1]):
        with fetch(member) as block:
            for i, states in enumerate(hidden):
                hidden[i] = calls[index][i].replay(block, states)
                on_batch(len(states))
        if not all(bool(torch.isfinite(states).all()) for states in hidden):
            raise RunError(f"{name}.{index}: its output holds NaN or infinity")
    with fetch(members[-1]):
        return exp_of_mean(_ends(model, members, batches, hidden, calls), on_batch, ranks)


def _ends(
    model: Any,
    members: nn.ModuleList,
    batches: list[Tensor],
    hidden: list[Tensor],
    calls: list[list[Call]],
) -> Iterator[Tensor]:
    """The losses of every batch: the model's own forward, in which the block before the last gives
    what came out of it, and the last, the norm and the head are real."""
    batch, last = 0, len(members) - 1

    def stand_in(index: int, block: nn.Module, real: Forward) -> Forward:
        def forward(*args: Any, **kwargs: Any) -> Any:
            if index == last:
                return real(*args, **kwargs)
            states = args[0] if args else kwargs["hidden_states"]
            return calls[index][batch].as_returned(hidden[batch] if index == last - 1 else states)

        return forward

    with replaced_forwards(members, stand_in):
        for number, ids in enumerate(batches):
            batch = number
            found = losses(model(input_ids=ids, use_cache=False).logits, ids)
            if not bool(torch.isfinite(found).all()):
                raise RunError(f"{type(model).__name__}: its output holds NaN or infinity")
            yield found
