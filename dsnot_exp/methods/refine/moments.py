"""Exchanges that lower the expected squared error of a row, from the statistics of DSnoT alone.

With c_k = w_k mean_k, v_k = w_k^2 var_k and e the sum of c over the pruned weights, the channels
being taken as independent, the expected squared error per token is e^2 + the sum of v over the
pruned weights. Exchanging the kept p for the pruned u changes it by
(e + c_p - c_u)^2 - e^2 + v_p - v_u: exchange.py on the Gram matrix mean mean^T + diag(var).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from dsnot_exp.methods.layer_error import row_slices
from dsnot_exp.methods.patterns import Pattern
from dsnot_exp.methods.protocols import Initial, Needs, Refined, Rows
from dsnot_exp.methods.refine.exchange import Independent, exchange, refined_to
from dsnot_exp.methods.refine.options import MomentsOptions
from dsnot_exp.methods.statistics import InputStatistics, Statistic


@dataclass(frozen=True)
class Moments(MomentsOptions):
    needs: ClassVar[Needs] = frozenset({Statistic.MEAN, Statistic.VAR, Statistic.NORM})
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
        value, most = initial.present(weight), self.swaps(weight.shape[1])
        masks, swaps = [], []
        for rows in row_slices(weight):
            wanted, held = weight[rows].float(), value[rows].float()
            found = exchange(
                gram, gram.times(wanted), held, initial.mask[rows], pattern, most, self.pool
            )
            masks.append(found[0])
            swaps.append(found[1])
        return refined_to(torch.cat(masks), torch.cat(swaps), weight, initial, statistics)
