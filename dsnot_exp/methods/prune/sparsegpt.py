"""SparseGPT (Frantar and Alistarh, ICML 2023, arXiv 2301.00774), algorithm 1.

Columns are visited from left to right. Pruning weight w_j of a row costs w_j^2 / [H_j^-1]_jj, where
H = A^T A (its scale plays no part) and H_j is H without the columns before j; the best update of
the columns to the right is -w_j / [H_j^-1]_jj * [H_j^-1]_j: (the optimal brain surgeon). With
H^-1 = U^T U, U upper triangular, for all j: [H_j^-1]_jj = U_jj^2 and the update -(w_j / U_jj) U_j:.

With a correction C of the target (normal_equations.py) the sweep starts from W + C H^-1, the
optimum without a mask.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from dsnot_exp.methods.normal_equations import correction, indefinite
from dsnot_exp.methods.patterns import NM, Pattern
from dsnot_exp.methods.protocols import Initial, Needs, Rows
from dsnot_exp.methods.prune import sparsegpt_kernel
from dsnot_exp.methods.prune.options import SparseGPTOptions
from dsnot_exp.methods.statistics import InputStatistics, Statistic

LEAF = 32  # columns that are updated one by one; the rest are matrix products
CORNER = 96  # a triangular matrix of this size is inverted by substitution
ATTEMPTS = 4  # the damping, then tenfold, up to three times


@dataclass(frozen=True)
class SparseGPT(SparseGPTOptions):
    needs: ClassVar[Needs] = frozenset({Statistic.GRAM, Statistic.NORM, Statistic.TARGET})
    rows: ClassVar[Rows] = "independent"  # the pattern compares over all rows

    def __call__(
        self,
        weight: Tensor,
        statistics: InputStatistics | None,
        pattern: Pattern,
        equal_rows: bool,
    ) -> Initial:
        """The rows of a block share one budget, so each row has its own; a refiner keeps it."""
        assert statistics is not None, "SparseGPT needs the Gram matrix of its input"
        factor, damping = statistics.once(
            ("inverse_factor", self.damping), lambda gram: inverse_factor(gram, self.damping)
        )
        dense, pull = weight, correction(weight, statistics)
        if pull is not None:  # start from the optimum without a mask
            weight = weight + ((pull @ factor.T) @ factor)
        span = pattern.m if isinstance(pattern, NM) else self.block
        sweep = _Sweep(weight, factor, statistics.norm == 0, pattern, span)
        sweep.run(0, weight.shape[1])
        updated = sweep.weight.T.to(dense.dtype).contiguous() if self.update_weights else dense
        note = f"H was not positive definite: damping {damping:g}" if damping > self.damping else ""
        return Initial(sweep.mask, updated, sweep.scores, self.update_weights, note)


class _Sweep:
    """Visits the columns by recursive halving: one matrix product passes the errors of the left
    half on to the right half.

    weight, error: (in, out), float32: a column of the layer is contiguous.
    """

    def __init__(
        self, weight: Tensor, factor: Tensor, dead: Tensor, pattern: Pattern, span: int
    ) -> None:
        self.weight = weight.T.float().contiguous()
        if self.weight.data_ptr() == weight.data_ptr():
            self.weight = self.weight.clone()
        self.weight[dead] = 0
        self.error = torch.zeros_like(self.weight)
        self.factor, self.pattern, self.span = factor, pattern, span
        self.compiled = sparsegpt_kernel.available(weight)
        several = isinstance(pattern, NM) or not self.compiled  # spans in one leaf
        self.leaf = min(span, LEAF) * (max(1, LEAF // span) if several else 1)
        self.mask = torch.ones(weight.shape, dtype=torch.bool, device=weight.device)
        self.scores = torch.zeros(weight.shape, dtype=torch.float32, device=weight.device)

    def run(self, low: int, high: int) -> None:
        """Prune the columns from `low` to `high`. The errors of all columns before them are already
        applied."""
        if high - low <= self.leaf:
            return self._one_by_one(low, high)
        # A span of columns that share a threshold is never split across two halves.
        unit = max(self.span, self.leaf) if high - low > self.span else self.leaf
        middle = low + unit * -(-(high - low) // (2 * unit))
        self.run(low, middle)
        self.weight[middle:high].addmm_(
            self.factor[low:middle, middle:high].T, self.error[low:middle], alpha=-1
        )
        self.run(middle, high)

    def _one_by_one(self, low: int, high: int) -> None:
        if self.compiled:
            if not isinstance(self.pattern, NM) and low % self.span == 0:
                self._choose(low)
            tensors = (self.weight, self.error, self.factor, self.scores, self.mask)
            return sparsegpt_kernel.sweep_leaf(*tensors, low, high, self.pattern)
        for column in range(low, high):
            if column % self.span == 0:
                self._choose(column)
            pruned = ~self.mask[:, column]
            error = self.weight[column].masked_fill(~pruned, 0) / self.factor[column, column]
            self.error[column] = error
            rest = self.factor[column, column + 1 : high]
            self.weight[column + 1 : high].addr_(rest, error, alpha=-1)
            self.weight[column].masked_fill_(pruned, 0)

    def _choose(self, first: int) -> None:
        """The mask of the span that begins at column `first`."""
        span = slice(first, first + self.span)
        scores = (self.weight[span] / self.factor.diagonal()[span, None]).square().T
        self.scores[:, span] = scores
        self.mask[:, span] = self.pattern.mask(scores, "matrix")


def inverse_factor(gram: Tensor, damping: float) -> tuple[Tensor, float]:
    """U, upper triangular (in, in), with U^T U = (H + damping * mean(diag H))^-1, and the damping.

    H is factored from its last column to its first, H = R R^T with R upper triangular; then
    U = R^-1: one factorisation, and the inverse of H is never formed. Dead columns (zeros in H)
    get a 1 on the diagonal. Raises ArithmeticError if no damping helps.
    """
    diagonal = gram.diagonal()
    unit = torch.where(diagonal == 0, 1.0, 0.0)
    for attempt in range(ATTEMPTS):
        tried = damping * 10**attempt
        damped = gram + torch.diag(unit + tried * diagonal.mean())
        lower, failed = torch.linalg.cholesky_ex(damped.flip(0, 1))
        if not bool(failed):
            return inverse_upper(lower.flip(0, 1)).contiguous(), tried
    raise indefinite(tried)


def inverse_upper(upper: Tensor) -> Tensor:
    """The inverse of an upper triangular matrix (n, n), by halves, so that products do the work:
    [A B; 0 C]^-1 = [A^-1, -A^-1 B C^-1; 0, C^-1]."""
    size = len(upper)
    if size <= CORNER:
        identity = torch.eye(size, device=upper.device, dtype=upper.dtype)
        return torch.linalg.solve_triangular(upper, identity, upper=True)
    half = size // 2
    first, last = inverse_upper(upper[:half, :half]), inverse_upper(upper[half:, half:])
    inverse = upper.new_zeros(size, size)
    inverse[:half, :half], inverse[half:, half:] = first, last
    inverse[:half, half:] = first @ upper[:half, half:] @ -last
    return inverse
