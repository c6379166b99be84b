"""What a refiner sees of one layer, and what it returns."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from dsnot_exp.patterns import Pattern
from dsnot_exp.prune.base import Initial
from dsnot_exp.refine.candidates import only
from dsnot_exp.statistics import InputStatistics


def contribution(weight: Tensor, statistics: InputStatistics) -> Tensor:
    """c_rk = W_rk * S * mean_k: what a weight adds to its row's expected output, (out, in).

    In the released code's unit, the token sum of one sequence: `update_threshold` counts in it.
    """
    return weight.float() * (statistics.sequence_length * statistics.mean)


def row_slices(weight: Tensor, shared: int = 22) -> list[slice]:
    """Equal slices of the rows of `weight: (out, in)`, so that what is computed from one stays in
    a core's cache, or takes little memory: several threads wait for each other at every step, so
    they are given larger steps (2^shared entries), and a GPU the largest."""
    entries = 1 << (26 if weight.is_cuda else 17 if torch.get_num_threads() == 1 else shared)
    rows, width = weight.shape
    count = max(1, min(rows, round(rows * width / entries)))
    edges = [rows * i // count for i in range(count + 1)]
    return [slice(a, b) for a, b in itertools.pairwise(edges)]


def expected_error(weight: Tensor, initial: Initial, statistics: InputStatistics) -> Tensor:
    """e_r = sum_k (W_rk - M_rk W^_rk) * S * mean_k, (out,), float64 (the paper's equation 2)."""
    errors = []
    for rows in row_slices(weight, shared=18):  # few steps
        lost, mask = contribution(weight[rows], statistics), initial.mask[rows]
        if initial.weight is weight:
            lost = only(lost, ~mask)
        else:
            lost = lost - only(contribution(initial.weight[rows], statistics), mask)
        errors.append(lost.sum(1, dtype=torch.float64))
    return torch.cat(errors)


@dataclass(frozen=True)
class Layer:
    """A dense weight (out, in), its initial mask, its input's statistics and its pattern."""

    weight: Tensor
    initial: Initial
    statistics: InputStatistics
    pattern: Pattern


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
