"""What a refiner sees of one layer, and what it returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from dsnot_exp.patterns import Pattern
from dsnot_exp.prune.base import Initial
from dsnot_exp.statistics import InputStatistics


def contribution(weight: Tensor, statistics: InputStatistics) -> Tensor:
    """c_rk = W_rk * S * mean_k: what a weight adds to its row's expected output, (out, in).

    In the released code's unit, the token sum of one sequence: `update_threshold` counts in it.
    """
    return weight.float() * (statistics.sequence_length * statistics.mean)


def expected_error(weight: Tensor, initial: Initial, statistics: InputStatistics) -> Tensor:
    """e_r = sum_k (W_rk - M_rk W^_rk) * S * mean_k, (out,), float64 (the paper's equation 2)."""
    lost = contribution(weight, statistics)
    if initial.weight is weight:
        lost = lost.masked_fill(initial.mask, 0)
    else:
        lost = lost - contribution(initial.weight, statistics).masked_fill(~initial.mask, 0)
    return lost.sum(1, dtype=torch.float64)


@dataclass(frozen=True)
class Refined:
    """A refined mask (out, in), and per row the expected error before and after and the swaps."""

    mask: Tensor
    error_before: Tensor
    error_after: Tensor
    swaps: Tensor


class Refiner(Protocol):
    """One layer's dense weight, initial mask and input statistics -> a better mask."""

    needs: ClassVar[frozenset[str]]
    skip: list[str]

    def __call__(
        self,
        weight: Tensor,
        initial: Initial,
        statistics: InputStatistics,
        pattern: Pattern,
        generator: torch.Generator,
    ) -> Refined: ...
