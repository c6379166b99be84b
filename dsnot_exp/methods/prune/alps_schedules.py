"""The two schedules of ALPS's penalty rho, and the inverses P = (Hn + rho I)^-1 that they take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from dsnot_exp.methods.normal_equations import indefinite

# What follows rho, given the iteration, rho and d, the sparse copy; None ends the iterations.
Schedule = Callable[[int, float, Tensor], float | None]
Inverse = Callable[[float], Tensor]  # rho -> P
EVERY, TIMES = 5, 1.8  # short: iterations at one penalty, and what it is multiplied by then
GROWTH = ((0.1, 1.3), (0.005, 1.2), (0.0, 1.1))  # full: from this share of the support, times this


def stepwise(iteration: int, rho: float, sparse: Tensor) -> float:
    """The short schedule: 0.1, 0.18, 0.32 and 0.58 for five iterations each.

    Chosen on 16 layers of SmolLM2 at 60 %, 80 % and 2:4: 30 iterations with 0.1 for ten, then 0.2
    to 1.6 for five each, leave layer errors that are 0.1 % to 0.4 % larger.
    """
    return TIMES * rho if iteration and iteration % EVERY == 0 else rho


@dataclass
class ByChange:
    """The full schedule: every third iteration, rho grows by how much the support has changed since
    the last time; no change ends the iterations. supported: where d was not 0 then"""

    supported: Tensor | None = None

    def __call__(self, iteration: int, rho: float, sparse: Tensor) -> float | None:
        if iteration % 3:
            return rho
        mask = sparse != 0
        before, self.supported = self.supported, mask
        if before is None:
            return rho
        changed = int((mask != before).count_nonzero()) / max(1, int(mask.count_nonzero()))
        return next((rho * times for share, times in GROWTH if changed > share), None)


@dataclass(frozen=True)
class Eigenvectors:
    """Hn = Q diag(values) Q^T. values: (in,); vectors: Q, (in, in); both float32"""

    values: Tensor
    vectors: Tensor
    damping: float

    def inverse(self, penalty: float) -> Tensor:
        """(Hn + penalty I)^-1, (in, in). Raises ArithmeticError if Hn + penalty I is not
        positive."""
        shifted = self.values + penalty
        if not bool((shifted > 0).all()):  # NaN too
            raise indefinite(self.damping + penalty)
        return (self.vectors / shifted) @ self.vectors.T


def eigenvectors(gram: Tensor) -> Eigenvectors:
    """In float64, as the paper does; gram: Hn, (in, in)."""
    damping = float(gram[0, 0]) - 1
    try:
        values, vectors = torch.linalg.eigh(gram.double())
    except torch.linalg.LinAlgError as error:  # NaN
        raise indefinite(damping) from error
    return Eigenvectors(values.float(), vectors.float(), damping)
