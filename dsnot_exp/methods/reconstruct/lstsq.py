"""The exact least squares of every row on its kept weights: slow, and what the others approach.

Row by row, x Hn = B on the kept columns is solved by a Cholesky factorisation in float64.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dsnot_exp.methods.normal_equations import Normalised
from dsnot_exp.methods.reconstruct.fixed_mask import FixedMask, Solve
from dsnot_exp.methods.reconstruct.options import LeastSquaresOptions

ENTRIES = 1 << 23  # of the matrices that are factored together, float64


@dataclass(frozen=True)
class LeastSquares(LeastSquaresOptions, FixedMask):
    def solver(self, problem: Normalised) -> Solve:
        def solve(target: Tensor, start: Tensor, kept: Tensor) -> Tensor:
            return solve_rows(problem.gram, target, kept)

        return solve


def solve_rows(gram: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """x with x Hn = B on the mask, and 0 elsewhere. gram: Hn, (in, in); target, mask, x: (rows,
    in)."""
    found = torch.zeros_like(target)
    most = int(mask.sum(1).max())
    at_once = max(1, ENTRIES // max(1, most**2))
    for low in range(0, len(mask), at_once):
        rows = slice(low, low + at_once)
        # The kept columns of each row come first; the systems of shorter rows end in an identity.
        valid, column = mask[rows].byte().sort(dim=1, descending=True, stable=True)
        valid, column = valid[:, :most].bool(), column[:, :most]
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
