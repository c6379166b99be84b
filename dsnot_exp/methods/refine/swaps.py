"""Exact 1-swaps on the Gram matrix: exchanges until none lowers the error of its row.

In columns of unit length, with the Gram matrix Hn and the right side B of normal_equations.py,
exchange.py lowers x Hn x^T - 2 B x^T, where x is w n on the mask. No weight moves. B is that of the
pruners, so that the masks follow a corrected target too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from dsnot_exp.methods.normal_equations import right_side, shared
from dsnot_exp.methods.patterns import Pattern
from dsnot_exp.methods.protocols import Initial, Needs, Refined, Rows
from dsnot_exp.methods.refine.exchange import Exchanger, refined_to
from dsnot_exp.methods.refine.options import SwapsOptions
from dsnot_exp.methods.statistics import InputStatistics, Statistic

ROWS = 512  # of a Gram matrix that are looked at together


@dataclass(frozen=True)
class Stored:
    """A Gram matrix in memory; see exchange_gram.py."""

    matrix: Tensor
    mean: None = None

    @property
    def diagonal(self) -> Tensor:
        return self.matrix.diagonal()

    def times(self, rows: Tensor) -> Tensor:
        return rows @ self.matrix

    def rows(self, columns: Tensor) -> Tensor:
        return self.matrix[columns]

    def blocks(self, size: int) -> Tensor:
        groups = len(self.matrix) // size
        cut = self.matrix.view(groups, size, groups, size)
        return cut.diagonal(dim1=0, dim2=2).permute(2, 0, 1)

    def bounds(self) -> tuple[Tensor, Tensor]:
        largest = []
        for first in range(0, len(self.matrix), ROWS):
            others = self.matrix[first : first + ROWS].abs()
            others.diagonal(first).zero_()
            largest.append(others.amax(1))
        return torch.cat(largest), torch.ones_like(self.diagonal)


@dataclass(frozen=True)
class Swaps(SwapsOptions):
    needs: ClassVar[Needs] = frozenset({Statistic.NORMALISED, Statistic.TARGET})
    rows: ClassVar[Rows] = "independent"

    def __call__(
        self,
        weight: Tensor,
        initial: Initial,
        statistics: InputStatistics,
        pattern: Pattern,
        generator: torch.Generator,
    ) -> Refined:
        problem = shared(statistics, self.damping)
        exchange = Exchanger(Stored(problem.gram), pattern, self.swaps(weight.shape[1]), self.pool)
        target = right_side(problem, weight, statistics)
        value = problem.scaled(initial.present(weight))
        mask, swaps = exchange(target, value, initial.mask)
        return refined_to(mask, swaps, weight, initial, statistics)
