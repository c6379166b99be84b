"""ALPS (Meng et al., NeurIPS 2024, arXiv 2406.07831): mask and kept weights of a layer together.

In columns of unit length (normal_equations.py), x Hn x^T - 2 B x^T is to be small under a pattern.
ADMM splits x from a sparse copy d of it, with multipliers V and the penalty rho / 2 ||x - d||^2:

    d = the pattern's largest entries of s = x + V / rho,    V <- V + rho (x - d)
    x = (B + rho d - V) P,    P = (Hn + rho I)^-1

d is s where it is kept, and V / rho is s where it is pruned, so that s alone is the state. rho
grows, which settles the mask. Conjugate gradients on the mask then find the kept weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from dsnot_exp.methods.gram import multiplies_bfloat16
from dsnot_exp.methods.normal_equations import (
    conjugate_gradient,
    inverse,
    right_side,
    shared,
)
from dsnot_exp.methods.patterns import Pattern
from dsnot_exp.methods.protocols import Initial, Needs, Rows
from dsnot_exp.methods.prune.alps_schedules import (
    ByChange,
    Inverse,
    Schedule,
    eigenvectors,
    stepwise,
)
from dsnot_exp.methods.prune.options import SCHEDULES, ALPSOptions
from dsnot_exp.methods.statistics import InputStatistics, Statistic


@dataclass(frozen=True)
class ALPS(ALPSOptions):
    """Takes 20 + 2 + `cg_steps` products (out, in) x (in, in) and four factorisations.

    Memory: Hn and P, (in, in) each, of one input at a time, D if the dense stream corrects the
    target, and at most eight matrices (out, in), all float32; a bfloat16 copy of P is half of one
    more, until it takes the place of P.

    Linears of one input share Hn. They do not share P: the short schedule has four. One
    eigendecomposition would be one matrix, but it and the products that make the four P from it,
    for q, k and v each, take longer than four Cholesky inversions. The full schedule has up to a
    hundred penalties; there the eigenvectors are shared: one more matrix (in, in), and several more
    while they are computed in float64.
    """

    needs: ClassVar[Needs] = frozenset({Statistic.NORMALISED, Statistic.TARGET})

    @property
    def rows(self) -> Rows:
        """The full schedule looks at how much of the whole mask changes."""
        return "together" if self.schedule == "full" else "independent"

    def __call__(
        self,
        weight: Tensor,
        statistics: InputStatistics | None,
        pattern: Pattern,
        equal_rows: bool,
    ) -> Initial:
        """Rows share one budget, so each row has its own; a refiner keeps it."""
        assert statistics is not None, "ALPS needs the Gram matrix of its input"
        problem = shared(statistics, self.damping)
        hn = problem.gram
        target, start = right_side(problem, weight, statistics), problem.scaled(weight)
        state = self.iterate(target, start, pattern, *self.tools(hn, statistics))
        scores = state.abs()
        mask = pattern.mask(scores, "matrix")
        solved = conjugate_gradient(hn, target, state, mask, self.cg_steps)
        return Initial(mask, problem.restored(solved, weight).masked_fill_(~mask, 0), scores, True)

    def tools(self, hn: Tensor, statistics: InputStatistics) -> tuple[Inverse, Schedule]:
        if self.schedule == "short":
            return partial(inverse, hn), stepwise
        eigen = statistics.once(("eigenvectors", self.damping), lambda _: eigenvectors(hn))
        return eigen.inverse, ByChange()

    def iterate(
        self,
        target: Tensor,
        start: Tensor,
        pattern: Pattern,
        invert: Inverse,
        schedule: Schedule,
    ) -> Tensor:
        """The state s after the iterations: (out, in). target: B; start: s before them."""
        state, before, products = start, self.penalty, _Products(invert, target)
        for iteration in range(self.iterations or SCHEDULES[self.schedule]):
            sparse = pattern.roughly(state)  # d
            rho = schedule(iteration, before, sparse)
            if rho is None:
                break
            # B + rho d - V, where V = before (s - d)
            right = torch.add(target, state, alpha=-before).add_(sparse, alpha=rho + before)
            pruned = torch.sub(state, sparse, out=sparse)
            state = products(right, rho).add(pruned, alpha=before / rho)
            before = rho
        return state


class _Products:
    """right P, (out, in), of one iteration after the other.

    While rho stays, P does too, and x moves by the change of the right side times P. The change is
    small, so that bfloat16 products of it are as good as float32 products of the whole (layer
    errors differ by 0.2 % in either direction), where the processor has them.
    """

    def __init__(self, invert: Inverse, like: Tensor) -> None:
        self.invert, self.rho = invert, 0.0
        self.p = self.x = self.right = like
        self.halved = multiplies_bfloat16(like.device, like.shape[1])

    def __call__(self, right: Tensor, rho: float) -> Tensor:
        if rho == self.rho and self.halved:
            self.x = self.x + (right - self.right).bfloat16() @ self.p
        else:
            if rho != self.rho:
                self.p = right  # frees the last P before the next is made
                self.rho, self.p = rho, self.invert(rho)
            self.x = right @ self.p
            self.p = self.p.bfloat16() if self.halved else self.p
        self.right = right
        return self.x
