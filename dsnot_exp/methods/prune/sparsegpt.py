"""SparseGPT (Frantar and Alistarh, ICML 2023, arXiv 2301.00774), algorithm 1.

Columns are visited from left to right. Pruning weight w_j of a row costs w_j^2 / [H_j^-1]_jj, where
H = A^T A (its scale plays no part) and H_j is H without the columns before j; the best update of
the columns to the right is -w_j / [H_j^-1]_jj * [H_j^-1]_j: (the optimal brain surgeon). With
H^-1 = U^T U, U upper triangular, for all j: [H_j^-1]_jj = U_jj^2 and the update -(w_j / U_jj) U_j:.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from dsnot_exp.methods.patterns import NM, Pattern
from dsnot_exp.methods.protocols import Initial, Needs, Rows
from dsnot_exp.methods.prune.options import SparseGPTOptions
from dsnot_exp.methods.statistics import InputStatistics, Statistic

LEAF = 32  # columns that are updated one by one; the rest are matrix products
ATTEMPTS = 4  # the damping, then tenfold, up to three times


@dataclass(frozen=True)
class SparseGPT(SparseGPTOptions):
    needs: ClassVar[Needs] = frozenset({Statistic.GRAM, Statistic.NORM})
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
        span = pattern.m if isinstance(pattern, NM) else self.block
        sweep = _Sweep(weight, factor, statistics.norm == 0, pattern, span)
        sweep.run(0, weight.shape[1])
        updated = sweep.weight.T.to(weight.dtype).contiguous() if self.update_weights else weight
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
        self.leaf = min(span, LEAF) * max(1, LEAF // span)
        self.mask = torch.ones_like(weight, dtype=torch.bool)
        self.scores = torch.zeros_like(weight, dtype=torch.float32)

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
            identity = torch.eye(len(gram), device=gram.device, dtype=gram.dtype)
            return torch.linalg.solve_triangular(lower.flip(0, 1), identity, upper=True), tried
    raise ArithmeticError(
        f"its Gram matrix is not positive definite, even with damping {tried:g}; "
        "raise prune.damping or calib.samples"
    )
