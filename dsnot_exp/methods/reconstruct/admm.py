"""ADMM under a fixed mask (Boza, "Fast and Effective Weight Update for Pruned LLMs", TMLR 2024,
arXiv 2401.02938).

The unmasked x and the masked z are drawn together by the scaled dual u. One inverse serves all rows
and steps, whatever their masks:

    z = mask (x + u),    u <- u + x - z,    x = (B + rho (z - u)) P,    P = (Hn + rho I)^-1
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
    """Takes `steps` + 3 products (out, in) x (in, in) and one inverse. Linears that share an input
    do not share P: making it costs as much as a few steps, and keeping it one more Gram matrix."""

    needs: ClassVar[Needs] = frozenset({Statistic.NORMALISED, Statistic.TARGET})
    rows: ClassVar[Rows] = "independent"

    def __call__(
        self, dense: Tensor, sparse: Tensor, mask: Tensor, statistics: InputStatistics | None
    ) -> Tensor:
        """dense, sparse, mask: (out, in) -> the layer's new sparse weight (out, in)."""
        if statistics is None:  # an expert that saw too few tokens
            return sparse
        problem = shared(statistics, self.damping)
        factor = inverse(problem.gram, self.rho, "reconstruct")

        def solve(target: Tensor, start: Tensor, kept: Tensor) -> Tensor:
            unmasked, x, dual = target @ factor, start, torch.zeros_like(start)
            for _ in range(self.steps):
                z = (x + dual).mul_(kept)
                dual += x - z
                x = torch.addmm(unmasked, z - dual, factor, alpha=self.rho)
            return (x + dual).mul_(kept)

        return reconstructed(problem, dense, sparse, mask, statistics, solve)
