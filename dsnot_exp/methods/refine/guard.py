"""The guard of every refiner: a row keeps its new mask only if its measured error fell."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from dsnot_exp.methods.gram import product
from dsnot_exp.methods.layer_error import error_change, expected_error
from dsnot_exp.methods.protocols import Initial, Refined
from dsnot_exp.methods.statistics import InputStatistics


def guards(refiner: Any) -> bool:
    """Whether the refiner's option `guard` is on; a plug-in need not have it."""
    return bool(getattr(refiner, "guard", False))


def guarded(
    refined: Refined, weight: Tensor, initial: Initial, statistics: InputStatistics
) -> Refined:
    """`refined` with the initial mask in every row whose error ||(w - w^)X||^2 did not fall. It is
    measured with the Gram matrix, or without one on the sample of the tokens."""
    value = present(weight, initial)
    before = value.masked_fill(~initial.mask, 0)
    after = value.masked_fill(~refined.mask, 0)
    if statistics.gram is not None:
        change = error_change(weight, before, after, statistics.gram)
    else:
        assert statistics.sample is not None, "the guard needs a Gram matrix or a sample"
        step, both = after.float() - before.float(), after.float() + before.float()
        both -= 2 * weight.float()
        outputs = (product(statistics.sample.float(), part.T) for part in (step, both))
        change = torch.stack(list(outputs)).prod(0).sum(0)
    better = change < 0
    return Refined(
        torch.where(better[:, None], refined.mask, initial.mask),
        refined.error_before,
        torch.where(better, refined.error_after, refined.error_before),
        refined.swaps.masked_fill(~better, 0),
    )


def present(weight: Tensor, initial: Initial) -> Tensor:
    """The value of every weight where it is kept: a grown one comes back with its dense value."""
    return torch.where(initial.mask, initial.weight, weight) if initial.moved else weight


def refined_to(
    mask: Tensor, swaps: Tensor, weight: Tensor, initial: Initial, statistics: InputStatistics
) -> Refined:
    """A new mask with its expected errors, in DSnoT's unit."""
    moved = replace(initial, mask=mask, weight=present(weight, initial))
    before = expected_error(weight, initial, statistics)
    return Refined(mask, before, expected_error(weight, moved, statistics), swaps)
