"""Conjugate gradients on the kept weights of every row, towards the dense outputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from dsnot_exp.methods.normal_equations import conjugate_gradient
from dsnot_exp.methods.protocols import Needs, Rows
from dsnot_exp.methods.reconstruct.fixed_mask import reconstructed
from dsnot_exp.methods.reconstruct.options import CGOptions
from dsnot_exp.methods.statistics import InputStatistics, Statistic


@dataclass(frozen=True)
class ConjugateGradients(CGOptions):
    needs: ClassVar[Needs] = frozenset({Statistic.GRAM, Statistic.NORM})
    rows: ClassVar[Rows] = "independent"

    def __call__(
        self, dense: Tensor, sparse: Tensor, mask: Tensor, statistics: InputStatistics | None
    ) -> Tensor:
        """dense, sparse, mask: (out, in) -> the layer's new sparse weight (out, in)."""

        def solve(gram: Tensor, target: Tensor, start: Tensor, kept: Tensor) -> Tensor:
            return conjugate_gradient(gram, target, start, kept, self.steps)

        return reconstructed(dense, sparse, mask, statistics, self.damping, solve)
