"""The exact least squares of every row on its kept weights: slow, and what the others approach."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from dsnot_exp.methods.protocols import Needs, Rows
from dsnot_exp.methods.reconstruct.fixed_mask import reconstructed
from dsnot_exp.methods.reconstruct.options import LeastSquaresOptions
from dsnot_exp.methods.statistics import InputStatistics, Statistic

ENTRIES = 1 << 23  # of the matrices that are factored together, float64


@dataclass(frozen=True)
class LeastSquares(LeastSquaresOptions):
    needs: ClassVar[Needs] = frozenset({Statistic.GRAM, Statistic.NORM})
    rows: ClassVar[Rows] = "independent"

    def __call__(
        self, dense: Tensor, sparse: Tensor, mask: Tensor, statistics: InputStatistics | None
    ) -> Tensor:
        """dense, sparse, mask: (out, in) -> the layer's new sparse weight (out, in)."""
        return reconstructed(dense, sparse, mask, statistics, self.damping, solve_rows)


def solve_rows(gram: Tensor, target: Tensor, start: Tensor, mask: Tensor) -> Tensor:
    """x (rows, in) with x Hn = B on the mask, by a Cholesky factorisation per row, in float64."""
    found = torch.zeros_like(target)
    kept = int(mask.sum(1).max())
    at_once = max(1, ENTRIES // max(1, kept**2))
    for low in range(0, len(mask), at_once):
        rows = slice(low, low + at_once)
        # The kept columns of each row come first; shorter rows are padded by an identity.
        valid, column = mask[rows].byte().sort(dim=1, descending=True, stable=True)
        valid, column = valid[:, :kept].bool(), column[:, :kept]
        both = valid[:, :, None] & valid[:, None, :]
        system = gram[column[:, :, None], column[:, None, :]].double().masked_fill_(~both, 0)
        system.diagonal(dim1=1, dim2=2).masked_fill_(~valid, 1)
        right = target[rows].gather(1, column).double().masked_fill_(~valid, 0)
        factor, failed = torch.linalg.cholesky_ex(system)
        if bool(failed.any()):
            raise ArithmeticError(
                "its Gram matrix is not positive definite on the kept weights; "
                "raise reconstruct.damping or calib.samples"
            )
        solution = torch.cholesky_solve(right[:, :, None], factor)[:, :, 0]
        found[rows] = found[rows].scatter(1, column, solution.to(found.dtype))
    return found
