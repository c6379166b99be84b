"""The guard of every refiner: a row keeps its new mask only if its measured error fell."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dsnot_exp.methods.gram import product
from dsnot_exp.methods.normal_equations import error_change, right_side, shared
from dsnot_exp.methods.protocols import Initial, Refined
from dsnot_exp.methods.statistics import InputStatistics


def guards(refiner: Any) -> bool:
    """Whether the refiner's option `guard` is on; a plug-in need not have it."""
    return bool(getattr(refiner, "guard", False))


def guarded(
    refined: Refined,
    weight: Tensor,
    initial: Initial,
    statistics: InputStatistics,
    on_gram: bool,
) -> Refined:
    """`refined` with the initial mask in every row whose measured error did not fall.

    on_gram: measure it on all tokens by their Gram matrix, towards the target that the methods
        have; else towards the dense outputs on the sample of the tokens
    """
    value = initial.present(weight)
    before, after = (value.masked_fill(~mask, 0) for mask in (initial.mask, refined.mask))
    if on_gram:
        problem = shared(statistics, 0.0)
        dense, *both = (problem.scaled(part) for part in (weight, before, after))
        change = error_change(problem, right_side(problem, weight, statistics), dense, *both)
    else:
        assert statistics.sample is not None, "the guard needs a Gram matrix or a sample"
        change = _on_sample(statistics.sample, weight, before, after)
    better = change < 0
    return Refined(
        torch.where(better[:, None], refined.mask, initial.mask),
        refined.error_before,
        torch.where(better, refined.error_after, refined.error_before),
        refined.swaps.masked_fill(~better, 0),
    )


def _on_sample(sample: Tensor, weight: Tensor, before: Tensor, after: Tensor) -> Tensor:
    """By how much ||(w - w^)X||^2 of each row changes, (rows,): the sum over the tokens X of a
    product, of the outputs of after - before and of before + after - 2 w."""
    step, both = after.float() - before.float(), after.float() + before.float() - 2 * weight.float()
    outputs = product(sample.float(), step.T)  # (tokens, rows)
    return outputs.mul_(product(sample.float(), both.T)).sum(0)
