"""Conjugate gradients on the kept weights of every row, from their present values.

As in ALPS (Meng et al., arXiv 2406.07831, algorithm 2), all rows at once: a step costs one product
with the Gram matrix, and no matrix is factored.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from dsnot_exp.methods.normal_equations import Normalised, conjugate_gradient
from dsnot_exp.methods.reconstruct.fixed_mask import FixedMask, Solve
from dsnot_exp.methods.reconstruct.options import CGOptions


@dataclass(frozen=True)
class ConjugateGradients(CGOptions, FixedMask):
    """Takes `steps` + 3 products (out, in) x (in, in)."""

    def solver(self, problem: Normalised) -> Solve:
        def solve(target: Tensor, start: Tensor, kept: Tensor) -> Tensor:
            return conjugate_gradient(problem.gram, target, start, kept, self.steps)

        return solve
