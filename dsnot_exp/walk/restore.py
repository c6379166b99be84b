"""Makes a dense model sparse with what is kept of it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import torch

from dsnot_exp.models.placement import Placed
from dsnot_exp.utils.distributed import ALONE, Ranks
from dsnot_exp.walk.journal import Journal
from dsnot_exp.walk.kept import KeptSparse
from dsnot_exp.walk.loop import untimed, walk
from dsnot_exp.walk.record import Solved
from dsnot_exp.walk.sequences import begin
from dsnot_exp.walk.sparsified import Sparsified
from dsnot_exp.walk.view import BlockView


@torch.no_grad()
def restore(
    placed: Placed,
    kept: KeptSparse,
    *,
    journal: Journal | None = None,
    on_block: Callable[[], None] = lambda: None,
    timed: Callable[[str], AbstractContextManager[None]] = untimed,
    ranks: Ranks = ALONE,
) -> Sparsified:
    """Make the dense model sparse, in place, without a forward. Raises OSError if a file was
    removed meanwhile.

    journal: of a streamed model, whose sparse blocks go to disk
    """

    def solve(view: BlockView) -> Solved:
        masks, weights = kept.masks(view.index), kept.weights(view.index)
        for name, linear in view.linears.items():
            layer = f"{view.name}.{name}"
            if layer in weights:
                linear.write(weights[layer].to(linear.weight.device))
            else:
                linear.weight.masked_fill_(~masks[layer].to(linear.weight.device), 0)
        return Solved()

    with begin(placed, None, 1) as sequences:
        walk(sequences, solve, placed.dense, journal, on_block, timed, ranks)
    return Sparsified.from_plain(kept.known)
