"""The options of the refiners that search for exchanges. They need no torch: options are checked
before it is imported. DSnoT's are in dsnot/options.py."""

from __future__ import annotations

import math
from dataclasses import dataclass, field


@dataclass(frozen=True)
class ExchangeOptions:
    """max_swaps: the most swaps per row; a float below 1 is a fraction of the row
    pool: how many of the kept weights, those that cost least to remove, and how many of the pruned
        ones, those that gain most, are compared in pairs; N:M compares all pairs of a group
    guard: a row keeps its new mask only if its measured error fell
    skip: glob patterns of linears, named inside a block, that keep their initial mask
    """

    max_swaps: int | float = 0.25
    pool: int = 32
    guard: bool = True
    skip: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        swaps = self.max_swaps
        if not 0 <= swaps < math.inf or (swaps > 1 and swaps != int(swaps)):
            raise ValueError(
                f"max_swaps={swaps}: expected a whole number of swaps, 0 or more, or a fraction of "
                "the row below 1"
            )
        if self.pool < 1:
            raise ValueError(f"pool={self.pool}: expected 1 or more weights on either side")

    def swaps(self, width: int) -> int:
        """The most swaps in a row of `width` weights."""
        if 0 < self.max_swaps < 1:
            return max(1, round(self.max_swaps * width))
        return int(self.max_swaps)


@dataclass(frozen=True)
class MomentsOptions(ExchangeOptions):
    """As ExchangeOptions."""


@dataclass(frozen=True)
class SwapsOptions(ExchangeOptions):
    """damping: added to the diagonal of the normalised Gram matrix"""

    damping: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.damping < math.inf:
            raise ValueError(f"damping={self.damping}: expected 0 or more")
