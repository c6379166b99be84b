"""Magnitude pruning: prune the smallest |W|. Needs no calibration data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from dsnot_exp.methods.patterns import Pattern
from dsnot_exp.methods.protocols import Initial, Needs, Rows
from dsnot_exp.methods.statistics import InputStatistics

SCOPES = ("auto", "row", "matrix")


@dataclass(frozen=True)
class Magnitude:
    """`scope`: compare weights within a `row` or over the whole `matrix`. `auto` does what
    the released code does: `row` if a refiner follows, else `matrix`."""

    needs: ClassVar[Needs] = frozenset()
    rows: ClassVar[Rows] = "independent"
    scope: str = "auto"

    def __post_init__(self) -> None:
        if self.scope not in SCOPES:
            raise ValueError(f"scope={self.scope}: choose from {', '.join(SCOPES)}")

    def __call__(
        self,
        weight: Tensor,
        statistics: InputStatistics | None,
        pattern: Pattern,
        equal_rows: bool,
    ) -> Initial:
        scores = weight.float().abs()
        scope = ("row" if equal_rows else "matrix") if self.scope == "auto" else self.scope
        return Initial(pattern.mask(scores, scope), weight, scores)
