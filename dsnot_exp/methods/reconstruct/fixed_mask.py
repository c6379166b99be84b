"""New values of the kept weights under a fixed mask: what every reconstructor has in common."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from dsnot_exp.methods.layer_error import error_change
from dsnot_exp.methods.normal_equations import shared
from dsnot_exp.methods.statistics import InputStatistics

# Hn (in, in), B, start and mask (rows, in) -> x (rows, in), 0 where the mask is False
Solve = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
ENTRIES = 1 << 22  # of the rows that are solved together; a GPU takes more
ENTRIES_GPU = 1 << 26


def reconstructed(
    dense: Tensor,
    sparse: Tensor,
    mask: Tensor,
    statistics: InputStatistics | None,
    damping: float,
    solve: Solve,
) -> Tensor:
    """The sparse weight (out, in) with new kept weights. A row whose error, in the weight's own
    dtype, would not fall keeps its weights; so does an expert that saw too few tokens."""
    if statistics is None:
        return sparse
    assert statistics.gram is not None, "reconstruction needs the Gram matrix of its input"
    normal = shared(statistics, damping)
    result = sparse.clone()
    height = max(1, (ENTRIES_GPU if dense.is_cuda else ENTRIES) // dense.shape[1])
    for low in range(0, len(dense), height):
        rows = slice(low, low + height)
        wanted, old, kept = dense[rows], sparse[rows], mask[rows]
        target = normal.scaled(wanted) @ normal.gram
        found = solve(normal.gram, target, normal.scaled(old), kept)
        if not bool(torch.isfinite(found.sum())):
            raise ArithmeticError(
                "its least squares gave NaN or infinity; raise reconstruct.damping or calib.samples"
            )
        new = normal.restored(found, old).masked_fill(~kept, 0)
        better = error_change(wanted, old, new, statistics.gram) < 0
        result[rows] = torch.where(better[:, None], new, old)
    return result
