"""ADMM under a fixed mask (Boza, "Fast and Effective Weight Update for Pruned LLMs", TMLR 2024,
arXiv 2401.02938).

The unmasked x and the masked z are drawn together by the scaled dual u. One inverse serves all rows
and steps, whatever their masks:

    z = mask (x + u),    u <- u + x - z,    x = (B + rho (z - u)) P,    P = (Hn + rho I)^-1
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dsnot_exp.methods.normal_equations import Normalised, inverse
from dsnot_exp.methods.reconstruct.fixed_mask import FixedMask, Solve
from dsnot_exp.methods.reconstruct.options import ADMMOptions


@dataclass(frozen=True)
class ADMM(ADMMOptions, FixedMask):
    """Takes `steps` + 3 products (out, in) x (in, in) and one inverse. Linears that share an input
    do not share P: making it costs as much as a few steps, and keeping it one more Gram matrix."""

    def solver(self, problem: Normalised) -> Solve:
        factor = inverse(problem.gram, self.rho, "reconstruct")

        def solve(target: Tensor, start: Tensor, kept: Tensor) -> Tensor:
            unmasked, x, dual = target @ factor, start, torch.zeros_like(start)
            for _ in range(self.steps):
                z = (x + dual).mul_(kept)
                dual += x - z
                x = torch.addmm(unmasked, z - dual, factor, alpha=self.rho)
            return (x + dual).mul_(kept)

        return solve
