"""Magnitude pruning: prune the smallest |W|. Needs no calibration data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from dsnot_exp.methods.patterns import Pattern
from dsnot_exp.methods.protocols import Initial, Needs, Rows
from dsnot_exp.methods.prune.options import MagnitudeOptions
from dsnot_exp.methods.statistics import InputStatistics


@dataclass(frozen=True)
class Magnitude(MagnitudeOptions):
    needs: ClassVar[Needs] = frozenset()
    rows: ClassVar[Rows] = "independent"

    def __call__(
        self,
        weight: Tensor,
        statistics: InputStatistics | None,
        pattern: Pattern,
        equal_rows: bool,
    ) -> Initial:
        scores = weight.float().abs()
        mask = pattern.mask(scores, self.compared_over(equal_rows))
        return Initial(mask, weight, scores)
