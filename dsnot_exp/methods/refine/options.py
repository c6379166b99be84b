"""The options of the refiners that search for exchanges. They need no torch: options are checked
before it is imported. DSnoT's are in dsnot/options.py."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Self

AUTO = "auto"
BUDGETS = (0, 1, 2, 5, 20, 50)  # what auto chooses from


@dataclass(frozen=True)
class ExchangeOptions:
    """max_swaps: the most swaps per row; a float below 1 is a fraction of the row; `auto`: one of
        BUDGETS, chosen block by block on held-out calibration tokens
    pool: how many of the kept weights, those that cost least to remove, a step compares with all
        pruned ones; N:M compares all pairs of a group
    guard: a row keeps its new mask only if its measured error fell
    skip: glob patterns of linears, named inside a block, that keep their initial mask
    """

    max_swaps: int | float | str = 0.25
    pool: int = 4
    guard: bool = False
    skip: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.max_swaps != AUTO and not _is_budget(self.max_swaps):
            raise ValueError(
                f"max_swaps={self.max_swaps}: expected auto, a whole number of swaps, 0 or more, "
                "or a fraction of the row below 1"
            )
        if self.pool < 1:
            raise ValueError(f"pool={self.pool}: expected 1 or more kept weights")

    @property
    def candidates(self) -> dict[str, Self]:
        """What there is to choose from, by the number of swaps; see methods/protocols.py."""
        budgets = BUDGETS if self.max_swaps == AUTO else ()
        return {str(swaps): replace(self, max_swaps=swaps) for swaps in budgets}

    def swaps(self, width: int) -> int:
        """The most swaps in a row of `width` weights."""
        assert not isinstance(self.max_swaps, str), "auto is chosen by the walk"
        if 0 < self.max_swaps < 1:
            return max(1, round(self.max_swaps * width))
        return int(self.max_swaps)


@dataclass(frozen=True)
class MomentsOptions(ExchangeOptions):
    """As ExchangeOptions. The moments tell only a part of the error, so that by default the number
    of swaps is chosen, and every row is measured."""

    max_swaps: int | float | str = AUTO
    guard: bool = True


@dataclass(frozen=True)
class SwapsOptions(ExchangeOptions):
    """damping: added to the diagonal of the normalised Gram matrix"""

    damping: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.damping < math.inf:
            raise ValueError(f"damping={self.damping}: expected 0 or more")


def _is_budget(swaps: int | float | str) -> bool:
    if isinstance(swaps, str | bool) or not 0 <= swaps < math.inf:
        return False
    return swaps < 1 or swaps == int(swaps)
