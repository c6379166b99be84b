"""DSnoT's cycles: swap after swap, for every row at once."""

from __future__ import annotations

import torch
from torch import Tensor

from dsnot_exp.methods.refine.dsnot.queues import Groups, Queue


def run_cycles(
    error: Tensor,
    grow: Queue,
    prune: Queue | Groups,
    cycles: int,
    threshold: float,
    flip_stops: bool,
) -> tuple[Tensor, Tensor]:
    """Swap the heads of the two queues until every row has stopped.

    `error: (out,)` -> (the error after, the number of swaps), (out,) each. `flip_stops`: a row
    stops before the swap that would flip its error's sign.
    """
    first_sign = error.sign()
    swaps = torch.zeros_like(error, dtype=torch.int64)
    active = torch.ones_like(error, dtype=torch.bool)
    while True:
        side = (error < 0).long()
        column, grown = grow.peek(side)
        _, pruned = prune.peek(side, column)
        nothing_to_prune = pruned.isnan()
        active = active & (error.abs() > threshold) & ~grown.isnan() & (swaps < cycles)
        after = error + pruned - grown
        swap = active & ~nothing_to_prune
        if flip_stops:
            swap &= after.sign() == first_sign
        # N:M: this group has nothing left to prune. Skip the candidate and try the next one.
        passed = active & nothing_to_prune & isinstance(prune, Groups)
        active = swap | passed
        if not bool(active.any()):
            return error, swaps
        error = torch.where(swap, after, error)
        swaps += swap
        grow.pop(active, swap)
        prune.pop(swap, swap)
