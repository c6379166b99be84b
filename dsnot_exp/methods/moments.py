"""Means and scatters (sums of squared deviations) of activations.

They are computed over slices of the tokens that fit in the cache, and combined in float64, so that
a mean near zero stays exact. The activations are never copied as a whole, neither transposed nor to
float32.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dsnot_exp.methods import moments_kernel
from dsnot_exp.utils.accelerator import is_accelerator

Part = tuple[int, Tensor, Tensor]  # tokens, their mean, their scatter
SLICE, SLICE_GPU = 1 << 19, 1 << 24  # entries at a time: few for a cache, many for a GPU


def moments(inputs: Tensor, varies: bool) -> tuple[Tensor, Tensor]:
    """Mean and scatter of one sequence, (in,) each, float64; inputs: (tokens, in).

    varies: compute the scatter exactly even if |mean| >> std. Otherwise it is the sum of squares
        less the mean's part, which is accurate enough for the norm
    """
    if moments_kernel.available(inputs):
        return moments_kernel.moments(inputs)
    rows = max(1, (SLICE_GPU if is_accelerator(inputs) else SLICE) // inputs.shape[1])
    zero = torch.zeros((), dtype=torch.float64, device=inputs.device)
    tokens, mean, scatter = 0, zero, zero
    for part in inputs.split(rows):
        length = len(part)
        center = part.mean(0, dtype=torch.float32)
        own = center.double()
        if varies:
            around = square_sum(part - center).double()
        else:
            around = square_sum(part).double() - length * own.square()
        mean, scatter = combined((tokens, mean, scatter), (length, own, around))
        tokens += length
    return mean, scatter


def combined(a: Part, b: Part) -> tuple[Tensor, Tensor]:
    """Chan, Golub and LeVeque's pairwise update of a mean and a sum of squared deviations."""
    (tokens, mean, scatter), (more, other_mean, other_scatter) = a, b
    total = tokens + more
    delta = other_mean - mean
    return (
        mean + delta * (more / total),
        scatter + other_scatter + delta.square() * (tokens * more / total),
    )


def square_sum(x: Tensor) -> Tensor:
    """The sum of squares over the tokens of `x: (tokens, in)`, float32."""
    if is_accelerator(x):  # reads half precision as float32, without a copy
        return torch.linalg.vector_norm(x, dim=0, dtype=torch.float32).square()
    return x.float().square().sum(0)


def spread(inputs: Tensor, count: int) -> Tensor:
    """`count` tokens of each sequence, evenly spaced: (sequences, tokens, in) -> (sampled, in)."""
    length = inputs.shape[1]
    count = min(count, length)
    places = (2 * torch.arange(count, device=inputs.device) + 1) * length // (2 * max(1, count))
    return inputs[:, places].flatten(0, 1)
