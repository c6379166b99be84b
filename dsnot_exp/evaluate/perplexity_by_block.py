"""Perplexity with one block on the device at a time: all batches pass through a block before the
next one is loaded. The value equals that of the whole model.

The last block, the norm and the head run inside the model's own forward. In it, the earlier blocks
return their input, and the last block reads the hidden states that the walk computed.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from dsnot_exp.evaluate.losses import Losses
from dsnot_exp.evaluate.perplexity import exp_of_mean
from dsnot_exp.utils.distributed import ALONE, Ranks
from dsnot_exp.utils.errors import RunError
from dsnot_exp.walk.last_block import from_last_block
from dsnot_exp.walk.loop import walk
from dsnot_exp.walk.sequences import Sequences
from dsnot_exp.walk.view import BlockView

REMEDY = "lower eval.seqlen, or use device=cpu"


def perplexity_by_block(
    sequences: Sequences, on_batch: Callable[[int], None] = lambda n: None, ranks: Ranks = ALONE
) -> float:
    """Same as `perplexity`, over this process's share of the sequences.

    on_batch: called per batch and block, with the number of sequences in the batch
    """
    if not sequences.count:  # fewer sequences than processes
        return exp_of_mean([], on_batch, ranks)
    solver = _Losses(on_batch)
    walk(sequences, solver)
    return exp_of_mean(solver.found, on_batch, ranks)


class _Losses:
    """A solver that changes no block. At the last block it computes the losses.

    found: losses of each batch, (sequences,)
    """

    def __init__(self, on_batch: Callable[[int], None]) -> None:
        self.found: list[Tensor] = []
        self.on_batch = on_batch

    def __call__(self, view: BlockView) -> None:
        for states in view.inputs():
            if not bool(torch.isfinite(states).all()):
                before = f"{view.sequences.name}.{view.index - 1}" if view.index else "embeddings"
                raise RunError(f"{before}: its output contains NaN or infinity")
            if view.index < len(view.sequences.blocks) - 1:
                self.on_batch(len(states))
        if view.index == len(view.sequences.blocks) - 1:
            self._end(view)

    @torch.no_grad()
    def _end(self, view: BlockView) -> None:
        sequences, losses = view.sequences, Losses(view.sequences.model)
        sequences.done = 0

        def run() -> None:
            while sequences.done < len(sequences.batches):
                batch = sequences.done
                with from_last_block(sequences, batch, sequences.states[batch]):
                    found = losses(sequences.batches[batch])
                if not bool(torch.isfinite(found).all()):
                    name = type(sequences.model).__name__
                    raise RunError(f"{name}: its output contains NaN or infinity")
                self.found.append(found)
                sequences.done += 1

        sequences.fitting(run)
