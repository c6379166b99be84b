"""What a linear layer's calibration input tells about it (the design's table of statistics).

Everything but the Gram matrix follows from two numbers per sequence and channel, the mean and
the variance over its tokens. Sums are kept in float64: they are small, and a mean that is a
small difference of large sums stays exact.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor

MOMENTS = frozenset({"mean", "var", "sequence_var", "norm"})
GRAM = "gram"
T = TypeVar("T")


@dataclass(frozen=True)
class InputStatistics:
    """Per input channel, float32, shape (in,); `gram: (in, in)` only where it was asked for."""

    sequences: int
    tokens: int
    mean: Tensor  # E[A_k], over all tokens
    var: Tensor  # Var[A_k], population, over all tokens
    sequence_var: Tensor  # the mean of the within-sequence variances (released code)
    norm: Tensor  # sqrt(sum A_k^2 / sequences)
    gram: Tensor | None = None  # A^T A / tokens
    derived: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)

    def once(self, key: Any, derive: Callable[[Tensor], T]) -> T:
        """`derive(gram)`, worked out for the first of the layers that share this input."""
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
    """Collects `InputStatistics` over micro-batches. Mergeable, so reducible over ranks."""

    def __init__(self, width: int, needs: frozenset[str], device: torch.device) -> None:
        def zeros(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
            return torch.zeros(*shape, dtype=dtype, device=device)

        self.sequences = 0
        self.tokens = 0
        self.mean = zeros(width)
        self.scatter = zeros(width)  # sum over tokens of (A_k - mean_k)^2
        self.scatter_within = zeros(width)  # the same around each sequence's own mean
        self.gram = zeros(width, width, dtype=torch.float32) if GRAM in needs else None

    def update(self, inputs: Tensor) -> None:
        """Count `inputs: (sequences, tokens, in)`."""
        sequences, length, _ = inputs.shape
        exact = inputs if inputs.dtype == torch.float32 else inputs.float()
        var, mean = torch.var_mean(exact, dim=1, correction=0)  # (sequences, in) each
        if self.gram is not None:
            flat = exact.flatten(0, 1)
            self.gram.addmm_(flat.T, flat)
        var, mean = var.double(), mean.double()
        within = var.sum(0) * length
        between = (mean - mean.mean(0)).square().sum(0) * length
        self._combine(sequences, sequences * length, mean.mean(0), within + between, within)

    def merge(self, other: Accumulator) -> None:
        """Count everything that `other` has counted."""
        if self.gram is not None and other.gram is not None:
            self.gram += other.gram
        self._combine(
            other.sequences, other.tokens, other.mean, other.scatter, other.scatter_within
        )

    def _combine(
        self, sequences: int, tokens: int, mean: Tensor, scatter: Tensor, within: Tensor
    ) -> None:
        """Chan, Golub and LeVeque's pairwise update of a mean and a sum of squared deviations."""
        if tokens == 0:
            return
        total = self.tokens + tokens
        delta = mean - self.mean
        self.scatter += scatter + delta.square() * (self.tokens * tokens / total)
        self.scatter_within += within
        self.mean += delta * (tokens / total)
        self.tokens = total
        self.sequences += sequences

    def finish(self) -> InputStatistics:
        """The statistics of everything counted so far."""
        square_sum = self.scatter + self.tokens * self.mean.square()
        return InputStatistics(
            sequences=self.sequences,
            tokens=self.tokens,
            mean=self.mean.float(),
            var=(self.scatter / self.tokens).float(),
            sequence_var=(self.scatter_within / self.tokens).float(),
            norm=(square_sum / self.sequences).sqrt().float(),
            gram=None if self.gram is None else self.gram / self.tokens,
        )
