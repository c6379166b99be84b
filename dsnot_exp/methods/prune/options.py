"""The options of the pruners that have any. They need no torch: options are checked before it is
imported."""

from __future__ import annotations

from dataclasses import dataclass

SCOPES = ("auto", "row", "matrix")


@dataclass(frozen=True)
class MagnitudeOptions:
    """`scope`: compare weights within a `row` or over the whole `matrix`. `auto` does what
    the released code does: `row` if a refiner follows, else `matrix`."""

    scope: str = "auto"

    def __post_init__(self) -> None:
        if self.scope not in SCOPES:
            raise ValueError(f"scope={self.scope}: choose from {', '.join(SCOPES)}")


@dataclass(frozen=True)
class SparseGPTOptions:
    """block: columns (128 in the paper) whose mask is chosen together, by a threshold over all rows
    damping: added to the diagonal of H, as a fraction of its mean
    update_weights: false keeps the mask and the dense weights
    """

    block: int = 128
    damping: float = 0.01
    update_weights: bool = True

    def __post_init__(self) -> None:
        if self.block < 1:
            raise ValueError(f"block={self.block}: expected 1 or more columns")
        if not 0 <= self.damping < float("inf"):
            raise ValueError(f"damping={self.damping}: expected 0 or more")
