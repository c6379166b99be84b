"""Statistics of a linear layer's calibration input, per input channel.

Means and variances are computed over slices of the tokens that fit in the cache, and combined in
float64, so that a mean near zero stays exact. The activations are never copied as a whole, neither
transposed nor to float32.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, TypeVar

import torch
from torch import Tensor

from dsnot_exp.methods.gram import add_gram, mirror

Part = tuple[int, Tensor, Tensor]  # tokens, their mean, their scatter
SLICE = {"cpu": 1 << 19, "cuda": 1 << 24}  # entries at a time: few for a cache, many for a GPU
CONSTANT = 1e-12  # var / mean^2 below this is float32 rounding: the channel is constant
T = TypeVar("T")


class Statistic(Enum):
    """What a method can ask for with `needs`. Only what some method needs is collected."""

    MEAN = "mean"
    VAR = "var"  # pooled over all tokens, and within sequences
    NORM = "norm"
    GRAM = "gram"
    SAMPLE = "sample"


@dataclass(frozen=True)
class InputStatistics:
    """Per input channel, float32, shape (in,). Statistics that no method needs are empty or
    None."""

    sequences: int
    tokens: int
    mean: Tensor  # E[A_k], over all tokens
    var: Tensor  # Var[A_k], population, over all tokens
    sequence_var: Tensor  # the mean of the within-sequence variances (released code)
    norm: Tensor  # sqrt(sum A_k^2 / sequences)
    gram: Tensor | None = None  # A^T A / tokens, (in, in)
    sample: Tensor | None = None  # a sample of the tokens, (sampled, in), in their own dtype
    derived: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)

    def once(self, key: Any, derive: Callable[[Tensor], T]) -> T:
        """`derive(gram)`, computed once for all layers that share this input."""
        if key not in self.derived:
            assert self.gram is not None
            self.derived[key] = derive(self.gram)
        found: T = self.derived[key]
        return found

    @property
    def sequence_length(self) -> float:
        """S, the tokens of one sequence: the unit of DSnoT's contributions."""
        return self.tokens / self.sequences


class Accumulator:
    """Collects `InputStatistics` over micro-batches.

    Mean and norm are always collected; they cost next to nothing.
    """

    def __init__(self, width: int, needs: frozenset[Statistic], device: torch.device) -> None:
        def zeros(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
            return torch.zeros(*shape, dtype=dtype, device=device)

        self.varies = Statistic.VAR in needs
        self.sequences = 0
        self.tokens = 0
        self.mean = zeros(width)
        self.scatter = zeros(width)  # sum over tokens of (A_k - mean_k)^2
        self.scatter_within = zeros(width)  # the same around each sequence's own mean
        self.gram = zeros(width, width, dtype=torch.float32) if Statistic.GRAM in needs else None
        self.sample: list[Tensor] | None = [] if Statistic.SAMPLE in needs else None

    def update(self, inputs: Tensor, sampled: int = 0) -> None:
        """Count `inputs: (sequences, tokens, in)`, and keep `sampled` tokens of each sequence."""
        sequences, length, _ = inputs.shape
        mean, scatter = moments(inputs, self.varies)
        within = scatter.sum(0)
        between = (mean - mean.mean(0)).square().sum(0) * length
        self.combine(sequences, sequences * length, mean.mean(0), within + between, within)
        if self.gram is not None:
            add_gram(self.gram, inputs.flatten(0, 1))
        if self.sample is not None:
            self.sample.append(spread(inputs, sampled))

    def merge(self, other: Accumulator) -> None:
        """Count everything that `other` has counted."""
        if self.gram is not None and other.gram is not None:
            self.gram += other.gram
        if self.sample is not None and other.sample is not None:
            self.sample += other.sample
        self.combine(other.sequences, other.tokens, other.mean, other.scatter, other.scatter_within)

    def combine(
        self, sequences: int, tokens: int, mean: Tensor, scatter: Tensor, within: Tensor
    ) -> None:
        if tokens == 0:
            return
        self.mean, self.scatter = combined(
            (self.tokens, self.mean, self.scatter), (tokens, mean, scatter)
        )
        self.scatter_within += within
        self.tokens += tokens
        self.sequences += sequences

    def finish(self) -> InputStatistics:
        """The statistics of everything counted so far."""
        square_sum = self.scatter + self.tokens * self.mean.square()
        none = self.mean.new_empty(0)
        return InputStatistics(
            sequences=self.sequences,
            tokens=self.tokens,
            mean=self.mean.float(),
            var=(self._variance(self.scatter) if self.varies else none).float(),
            sequence_var=(self._variance(self.scatter_within) if self.varies else none).float(),
            norm=(square_sum / self.sequences).sqrt().float(),
            gram=None if self.gram is None else mirror(self.gram) / self.tokens,
            sample=torch.cat(self.sample) if self.sample else None,
        )

    def _variance(self, scatter: Tensor) -> Tensor:
        var = scatter / self.tokens
        return var.masked_fill(var <= CONSTANT * self.mean.square(), 0)


def moments(inputs: Tensor, varies: bool) -> tuple[Tensor, Tensor]:
    """Mean and scatter of each sequence, (sequences, in), float64; inputs: (sequences, tokens, in).

    varies: whether the scatter is to be exact where |mean| >> std; otherwise it is what is left
    of the sum of squares, which is enough for the norm.
    """
    sequences, _, width = inputs.shape
    rows = max(1, SLICE[inputs.device.type] // (sequences * width))
    zero = torch.zeros((), dtype=torch.float64, device=inputs.device)
    tokens, mean, scatter = 0, zero, zero
    for part in inputs.split(rows, 1):
        length = part.shape[1]
        center = part.mean(1, keepdim=True, dtype=torch.float32)
        own = center.squeeze(1).double()
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
    """Over the tokens of `x: (sequences, tokens, in)`, float32."""
    if x.is_cuda:  # reads half precision as float32, without a copy
        return torch.linalg.vector_norm(x, dim=1, dtype=torch.float32).square()
    return x.float().square().sum(1)


def spread(inputs: Tensor, count: int) -> Tensor:
    """`count` tokens of each sequence, evenly spaced: (sequences, tokens, in) -> (sampled, in)."""
    length = inputs.shape[1]
    count = min(count, length)
    places = (2 * torch.arange(count, device=inputs.device) + 1) * length // (2 * max(1, count))
    return inputs[:, places].flatten(0, 1)
