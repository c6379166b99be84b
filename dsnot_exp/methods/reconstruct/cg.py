"""Conjugate gradients on the kept weights of every row, from their present values.

As in ALPS (Meng et al., arXiv 2406.07831, algorithm 2), all rows at once: a step costs one product
with the Gram matrix, and no matrix is factored.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from dsnot_exp.methods.normal_equations import conjugate_gradient, shared
from dsnot_exp.methods.protocols import Needs, Rows
from dsnot_exp.methods.reconstruct.fixed_mask import reconstructed
from dsnot_exp.methods.reconstruct.options import CGOptions
from dsnot_exp.methods.statistics import InputStatistics, Statistic


@dataclass(frozen=True)
class ConjugateGradients(CGOptions):
    needs: ClassVar[Needs] = frozenset({Statistic.NORMALISED, Statistic.TARGET})
    rows: ClassVar[Rows] = "independent"

    def __call__(
        self, dense: Tensor, sparse: Tensor, mask: Tensor, statistics: InputStatistics | None
    ) -> Tensor:
        """dense, sparse, mask: (out, in) -> the layer's new sparse weight (out, in)."""
        if statistics is None:  # an expert that saw too few tokens
            return sparse
        problem = shared(statistics, self.damping)

        def solve(target: Tensor, start: Tensor, kept: Tensor) -> Tensor:
            return conjugate_gradient(problem.gram, target, start, kept, self.steps)

        return reconstructed(problem, dense, sparse, mask, statistics, solve)
