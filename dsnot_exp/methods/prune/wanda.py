"""Wanda (Sun et al., ICLR 2024, arXiv 2306.11695): score |W_rk| * ||A_k||, compared per row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from dsnot_exp.methods.patterns import Pattern
from dsnot_exp.methods.protocols import Initial, Needs, Rows
from dsnot_exp.methods.statistics import InputStatistics, Statistic


def wanda_scores(weight: Tensor, statistics: InputStatistics) -> Tensor:
    """|W_rk| * ||A_k||, (out, in), float32 (equation 1)."""
    return weight.abs().float().mul_(statistics.norm)


@dataclass(frozen=True)
class Wanda:
    needs: ClassVar[Needs] = frozenset({Statistic.NORM})
    rows: ClassVar[Rows] = "independent"

    def __call__(
        self,
        weight: Tensor,
        statistics: InputStatistics | None,
        pattern: Pattern,
        equal_rows: bool,
    ) -> Initial:
        assert statistics is not None, "Wanda needs the norm of its input"
        scores = wanda_scores(weight, statistics)
        return Initial(pattern.mask(scores), weight, scores)
