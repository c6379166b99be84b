"""Exact 1-swaps on the Gram matrix: the exchanges of exchange.py until none lowers the error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from dsnot_exp.methods.layer_error import row_slices
from dsnot_exp.methods.normal_equations import shared
from dsnot_exp.methods.patterns import Pattern
from dsnot_exp.methods.protocols import Initial, Needs, Refined, Rows
from dsnot_exp.methods.refine.exchange import Stored, exchange, refined_to
from dsnot_exp.methods.refine.options import SwapsOptions
from dsnot_exp.methods.statistics import InputStatistics, Statistic


@dataclass(frozen=True)
class Swaps(SwapsOptions):
    needs: ClassVar[Needs] = frozenset({Statistic.MEAN, Statistic.NORM, Statistic.GRAM})
    rows: ClassVar[Rows] = "independent"

    def __call__(
        self,
        weight: Tensor,
        initial: Initial,
        statistics: InputStatistics,
        pattern: Pattern,
        generator: torch.Generator,
    ) -> Refined:
        normal = shared(statistics, self.damping)
        gram = Stored(normal.gram)
        value, most = initial.present(weight), self.swaps(weight.shape[1])
        masks, swaps = [], []
        for rows in row_slices(weight):
            wanted, held = normal.scaled(weight[rows]), normal.scaled(value[rows])
            found = exchange(
                gram, gram.times(wanted), held, initial.mask[rows], pattern, most, self.pool
            )
            masks.append(found[0])
            swaps.append(found[1])
        return refined_to(torch.cat(masks), torch.cat(swaps), weight, initial, statistics)
