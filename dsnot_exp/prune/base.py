"""What an initial mask is made from, and what it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

from torch import Tensor

from dsnot_exp.patterns import Pattern
from dsnot_exp.statistics import InputStatistics


@dataclass(frozen=True)
class Initial:
    """An initial mask, the weights it applies to, and the scores it came from: (out, in) each.

    `weight` is the dense weight unless the method has moved the kept weights (SparseGPT).
    `note`: what the user should know of how it came about.
    """

    mask: Tensor
    weight: Tensor
    scores: Tensor
    note: str = ""


class Pruner(Protocol):
    """One layer's weight, its input's statistics and a pattern -> an initial mask.

    `equal_rows`: a refiner follows, which compares weights within a row, so every row must
    have the same budget.
    """

    needs: ClassVar[frozenset[str]]

    def __call__(
        self,
        weight: Tensor,
        statistics: InputStatistics | None,
        pattern: Pattern,
        equal_rows: bool,
    ) -> Initial: ...
