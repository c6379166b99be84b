"""DSnoT's cycles: swap after swap, for every row at once."""

from __future__ import annotations

import torch
from torch import Tensor

from dsnot_exp.refine.candidates import GroupQueue, Queue


def run_cycles(
    error: Tensor,
    grow: Queue,
    prune: Queue | GroupQueue,
    cycles: int,
    threshold: float,
    flip_stops: bool,
) -> tuple[Tensor, Tensor]:
    """Swap heads of the two queues until every row has stopped.

    `error: (out,)` -> (the error after, the number of swaps), (out,) each. `flip_stops`: a row
    stops at the swap that would turn its error's sign.
    """
    first_sign = error.sign()
    swaps = torch.zeros_like(error, dtype=torch.int64)
    active = torch.ones_like(error, dtype=torch.bool)
    while True:
        negative = error < 0
        grown_column, grown, has_grown = grow.peek(negative)
        _, pruned, has_pruned = prune.peek(negative, grown_column)
        active = active & (error.abs() > threshold) & has_grown & (swaps < cycles)
        after = error + pruned - grown
        swap = active & has_pruned
        if flip_stops:
            swap &= after.sign() == first_sign
        # N:M, a group with nothing left to prune: pass over this candidate, it is not the last.
        passed = active & ~has_pruned & isinstance(prune, GroupQueue)
        active = swap | passed
        if not bool(active.any()):
            return error, swaps
        error = torch.where(swap, after, error)
        swaps += swap
        grow.pop(active, swap, negative)
        if isinstance(prune, GroupQueue):
            prune.pop(swap, grown_column)
        else:
            prune.pop(swap, swap, negative)
