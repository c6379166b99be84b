"""The guard of every refiner: a row keeps its new mask only if its measured error fell."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dsnot_exp.methods.gram import product
from dsnot_exp.methods.normal_equations import correction, shared
from dsnot_exp.methods.protocols import Initial, Needs, Refined
from dsnot_exp.methods.statistics import InputStatistics, Statistic


def guards(refiner: Any) -> bool:
    """Whether the refiner's option `guard` is on; a plug-in need not have it."""
    return bool(getattr(refiner, "guard", False))


def measured_with(needs: Needs) -> Statistic:
    """What the guard measures errors with, where methods need `needs`: a Gram matrix if they need
    one, which holds all tokens; else the sample of the tokens."""
    grams = (Statistic.NORMALISED, Statistic.GRAM)
    return next((gram for gram in grams if gram in needs), Statistic.SAMPLE)


def guarded(
    refined: Refined,
    weight: Tensor,
    initial: Initial,
    statistics: InputStatistics,
    measure: Statistic,
) -> Refined:
    """`refined` with the initial mask in every row whose measured error did not fall. With a Gram
    matrix it is the error towards the target that the methods have; measure: see measured_with."""
    value = initial.present(weight)
    before, after = (value.masked_fill(~mask, 0).float() for mask in (initial.mask, refined.mask))
    step, both = after - before, after + before - 2 * weight.float()
    # The error's change is s H (w1 + w2 - 2 w)^T, with the step s from w1 to w2.
    if measure is Statistic.SAMPLE:
        assert statistics.sample is not None, "the guard needs a Gram matrix or a sample"
        sample = statistics.sample.float()
        change = product(sample, step.T).mul_(product(sample, both.T)).sum(0)
    else:
        slope, pull = _times_gram(both, statistics, measure), correction(weight, statistics)
        if pull is not None:
            slope.sub_(pull, alpha=2)
        change = slope.mul_(step).sum(1)
    better = change < 0
    return Refined(
        torch.where(better[:, None], refined.mask, initial.mask),
        refined.error_before,
        torch.where(better, refined.error_after, refined.error_before),
        refined.swaps.masked_fill(~better, 0),
    )


def _times_gram(rows: Tensor, statistics: InputStatistics, measure: Statistic) -> Tensor:
    """`rows: (rows, in)` @ H, in float32."""
    if measure is Statistic.GRAM:
        assert statistics.gram is not None
        return rows @ statistics.gram
    problem = shared(statistics, 0.0)
    return (problem.scaled(rows) @ problem.gram).mul_(problem.scale)
