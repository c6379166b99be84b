"""The options of the reconstructors. They need no torch: options are checked before it is
imported."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class LeastSquaresOptions:
    """damping: added to the diagonal of the normalised Gram matrix"""

    damping: float = 0.01

    def __post_init__(self) -> None:
        if not 0 <= self.damping < math.inf:
            raise ValueError(f"damping={self.damping}: expected 0 or more")


@dataclass(frozen=True)
class CGOptions(LeastSquaresOptions):
    """steps: of conjugate gradients, for every row"""

    steps: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 1:
            raise ValueError(f"steps={self.steps}: expected 1 or more")


@dataclass(frozen=True)
class ADMMOptions(LeastSquaresOptions):
    """steps: of ADMM; rho: the penalty of leaving the mask, in units of the diagonal"""

    steps: int = 20
    rho: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 1:
            raise ValueError(f"steps={self.steps}: expected 1 or more")
        if not 0 < self.rho < math.inf:
            raise ValueError(f"rho={self.rho}: expected more than 0")
