"""Count the zeros that a model has before this run touches it."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from dsnot_exp.models.linears import owned
from dsnot_exp.models.placement import Placed

Counts = dict[str, tuple[int, int]]  # layer -> zeros, weights


def count_zeros(placed: Placed, indices: Iterable[int]) -> Counts:
    """The zeros and the weights of each prunable layer of these blocks."""
    name, blocks = placed.blocks
    counts = {}
    own = owned(blocks, placed.dense)
    for index in indices:
        with placed.fetch(blocks[index]):
            for layer, linear in own[index].items():
                weight = linear.weight
                zeros = weight.numel() - int(torch.count_nonzero(weight))
                counts[f"{name}.{index}.{layer}"] = (zeros, weight.numel())
    return counts


def share(counts: Counts) -> float:
    """Zeros / weights over all layers."""
    weights = sum(count for _, count in counts.values())
    return sum(zeros for zeros, _ in counts.values()) / weights if weights else 0.0
