"""ALPS (Meng et al., NeurIPS 2024, arXiv 2406.07831): mask and kept weights of a layer together.

In columns of unit length (normal_equations.py), x Hn x^T - 2 B x^T is to be small under a pattern.
ADMM splits x from a sparse copy d of it, with multipliers V and the penalty rho / 2 ||x - d||^2:

    d = the pattern's largest entries of s = x + V / rho,    V <- V + rho (x - d)
    x = (B + rho d - V) P,    P = (Hn + rho I)^-1

d is s where it is kept, and V / rho is s where it is pruned, so that s alone is the state. rho
grows, which settles the mask. Conjugate gradients on the mask then find the kept weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from dsnot_exp.methods.normal_equations import (
    conjugate_gradient,
    indefinite,
    inverse,
    normalised,
)
from dsnot_exp.methods.patterns import Pattern
from dsnot_exp.methods.protocols import Initial, Needs, Rows
from dsnot_exp.methods.prune.options import SCHEDULES, ALPSOptions
from dsnot_exp.methods.statistics import InputStatistics, Statistic

# What follows rho, given the iteration, rho and the present mask; None ends the iterations.
Schedule = Callable[[int, float, Tensor], float | None]
Inverse = Callable[[float], Tensor]  # rho -> P
EVERY = 5  # iterations of the short schedule at one penalty
GROWTH = ((0.1, 1.3), (0.005, 1.2), (0.0, 1.1))  # full: from this share of the support, times this


@dataclass(frozen=True)
class ALPS(ALPSOptions):
    """Takes 30 + 2 + `cg_steps` products (out, in) x (in, in) and five factorisations.

    Memory: H, Hn and P, (in, in) each, of one input at a time, and at most eight matrices (out,
    in), all float32. Linears of one input share Hn. They do not share P: the short schedule has
    five. One eigendecomposition would be one matrix, but to make the five P from it, for q, k and v
    again, takes longer than five Cholesky inversions each. The full schedule has a hundred
    penalties; there the eigenvectors are shared, a fourth matrix (in, in), and for the time of
    their computation in float64.
    """

    needs: ClassVar[Needs] = frozenset({Statistic.GRAM})

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
        problem = statistics.once(
            ("normalised", self.damping), lambda gram: normalised(gram, self.damping)
        )
        hn = problem.gram
        target, start = problem.scaled(weight) @ hn, problem.scaled(weight)
        state = self.iterate(target, start, pattern, *self.tools(hn, statistics))
        scores = state.abs()
        mask = pattern.mask(scores, "matrix")
        solved = conjugate_gradient(hn, target, state, mask, self.cg_steps)
        return Initial(mask, problem.restored(solved, weight).masked_fill_(~mask, 0), scores, True)

    def tools(self, hn: Tensor, statistics: InputStatistics) -> tuple[Inverse, Schedule]:
        if self.schedule == "short":
            return partial(inverse, hn), doubling
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
        state, before = start, self.penalty
        at, p = 0.0, target[:0]  # P and its rho
        for iteration in range(self.iterations or SCHEDULES[self.schedule]):
            mask = pattern.roughly(state.abs())
            rho = schedule(iteration, before, mask)
            if rho is None:
                break
            if rho != at:
                del p  # before the next is made
                at, p = rho, invert(rho)
            dual = state.masked_fill(mask, 0)  # V / before
            state = torch.add(target, state, alpha=rho).add_(dual, alpha=-(rho + before))
            state = torch.addmm(dual, state, p, beta=before / rho)
            before = rho
        return state


def doubling(iteration: int, rho: float, mask: Tensor) -> float:
    """The short schedule: 0.1 for ten iterations, then 0.2, 0.4, 0.8 and 1.6 for five each."""
    return 2 * rho if iteration > EVERY and iteration % EVERY == 0 else rho


@dataclass
class ByChange:
    """The full schedule: every third iteration, rho grows by how much the support has changed since
    the last time; no change ends the iterations. supported: the mask then"""

    supported: Tensor | None = None

    def __call__(self, iteration: int, rho: float, mask: Tensor) -> float | None:
        if iteration % 3:
            return rho
        before, self.supported = self.supported, mask
        if before is None:
            return rho
        changed = int((mask != before).count_nonzero()) / max(1, int(mask.count_nonzero()))
        return next((rho * times for share, times in GROWTH if changed > share), None)


@dataclass(frozen=True)
class Eigenvectors:
    """Hn = Q diag(values) Q^T. values: (in,); vectors: Q, (in, in); both float32"""

    values: Tensor
    vectors: Tensor

    def inverse(self, penalty: float) -> Tensor:
        """(Hn + penalty I)^-1, (in, in)."""
        return (self.vectors / (self.values + penalty)) @ self.vectors.T


def eigenvectors(gram: Tensor) -> Eigenvectors:
    """In float64, as the paper does; gram: Hn, (in, in). Raises ArithmeticError if Hn is not
    positive definite."""
    try:
        values, vectors = torch.linalg.eigh(gram.double())
    except torch.linalg.LinAlgError as error:  # NaN
        raise indefinite(float(gram[0, 0]) - 1) from error
    if not bool((values > 0).all()):  # or NaN
        raise indefinite(float(gram[0, 0]) - 1)
    return Eigenvectors(values.float(), vectors.float())
