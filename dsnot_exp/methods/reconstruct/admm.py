"""ADMM on a fixed mask (Boza, arXiv 2401.02938): the unmasked x and the masked z are drawn
together by the scaled dual u, and one inverse serves all rows and steps:

    z = mask (x + u),   u = u + x - z,   x = (B + rho (z - u)) (Hn + rho I)^-1
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from dsnot_exp.methods.normal_equations import inverse, shared
from dsnot_exp.methods.protocols import Needs, Rows
from dsnot_exp.methods.reconstruct.fixed_mask import reconstructed
from dsnot_exp.methods.reconstruct.options import ADMMOptions
from dsnot_exp.methods.statistics import InputStatistics, Statistic


@dataclass(frozen=True)
class ADMM(ADMMOptions):
    needs: ClassVar[Needs] = frozenset({Statistic.GRAM, Statistic.NORM})
    rows: ClassVar[Rows] = "independent"

    def __call__(
        self, dense: Tensor, sparse: Tensor, mask: Tensor, statistics: InputStatistics | None
    ) -> Tensor:
        """dense, sparse, mask: (out, in) -> the layer's new sparse weight (out, in)."""
        if statistics is None:
            return sparse
        matrix = shared(statistics, self.damping).gram
        factor = statistics.once(
            ("admm", self.damping, self.rho), lambda _: inverse(matrix, self.rho)
        )

        def solve(gram: Tensor, target: Tensor, start: Tensor, kept: Tensor) -> Tensor:
            found, dual = start, torch.zeros_like(start)
            for _ in range(self.steps):
                masked = (found + dual).mul_(kept)
                dual += found - masked
                found = torch.addmm(target @ factor, masked - dual, factor, alpha=self.rho)
            return (found + dual).mul_(kept)

        return reconstructed(dense, sparse, mask, statistics, self.damping, solve)
