"""Exchanges that lower the expected squared error of a row, from the statistics of DSnoT alone.

With c_k = w_k mean_k, v_k = w_k^2 var_k and e the sum of c over the pruned weights, the channels
being taken as independent, the expected squared error per token is e^2 + the sum of v over the
pruned weights. Exchanging the kept p for the pruned u changes it by

    (e + c_p - c_u)^2 - e^2 + v_p - v_u

which is exchange.py's change on the Gram matrix mean mean^T + diag(var).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from dsnot_exp.methods.patterns import Pattern
from dsnot_exp.methods.protocols import Initial, Needs, Refined, Rows
from dsnot_exp.methods.refine.exchange import Exchanger, refined_to
from dsnot_exp.methods.refine.options import MomentsOptions
from dsnot_exp.methods.statistics import InputStatistics, Statistic


@dataclass(frozen=True)
class Independent:
    """The Gram matrix of inputs whose channels are independent, mean mean^T + diag(var); see
    exchange_gram.py."""

    mean: Tensor
    var: Tensor
    matrix: None = None

    @property
    def diagonal(self) -> Tensor:
        return self.mean.square() + self.var

    def times(self, rows: Tensor) -> Tensor:
        return torch.outer(rows @ self.mean, self.mean).addcmul_(rows, self.var)

    def rows(self, columns: Tensor) -> Tensor:
        found = self.mean[columns][..., None] * self.mean
        return found.scatter_(-1, columns[..., None], self.diagonal[columns][..., None])

    def blocks(self, size: int) -> Tensor:
        groups = self.mean.view(-1, size)
        found = groups[:, :, None] * groups[:, None, :]
        found.diagonal(dim1=1, dim2=2).copy_(self.diagonal.view(-1, size))
        return found

    def bounds(self) -> tuple[Tensor, Tensor]:
        return self.mean.abs(), self.mean.abs()


@dataclass(frozen=True)
class Moments(MomentsOptions):
    needs: ClassVar[Needs] = frozenset({Statistic.MEAN, Statistic.VAR})
    rows: ClassVar[Rows] = "independent"

    def __call__(
        self,
        weight: Tensor,
        initial: Initial,
        statistics: InputStatistics,
        pattern: Pattern,
        generator: torch.Generator,
    ) -> Refined:
        gram = Independent(statistics.mean, statistics.var)
        exchange = Exchanger(gram, pattern, self.swaps(weight.shape[1]), self.pool)
        value = initial.present(weight).float()
        mask, swaps = exchange(gram.times(weight.float()), value, initial.mask)
        return refined_to(mask, swaps, weight, initial, statistics)
