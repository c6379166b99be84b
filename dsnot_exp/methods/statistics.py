"""Statistics of a linear layer's calibration input, per input channel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from dsnot_exp.methods.gram import add_gram, mirror, to_unit_diagonal
from dsnot_exp.methods.moments import combined, moments, spread
from dsnot_exp.utils.distributed import Ranks

CONSTANT = 1e-12  # var / mean^2 below this is float32 rounding: the channel is constant
T = TypeVar("T")


class Statistic(Enum):
    """What a method can ask for with `needs`. Only what some method needs is collected."""

    MEAN = "mean"
    VAR = "var"  # pooled over all tokens, and within sequences
    NORM = "norm"
    GRAM = "gram"
    NORMALISED = "normalised"  # the Gram matrix with a unit diagonal, in its place
    TARGET = "target"  # those of the next two that calib.target asks for
    DRIFT = "drift"
    RESIDUAL_DRIFT = "residual drift"
    SAMPLE = "sample"


class Target(NamedTuple):
    """How far a layer makes up for the errors before it: normal_equations.correction. 0, 0: not at
    all."""

    alpha: float = 0.0
    beta: float = 0.0


UNCORRECTED = Target()


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
    unit_gram: Tensor | None = None  # the same over n n^T, n = sqrt(diag): (in, in)
    unit: Tensor | None = None  # n, (in,)
    drift: Tensor | None = None  # E[(A_dense - A)^T A], (in, in)
    residual_drift: Tensor | None = None  # E[(h_dense - h)^T A], (out, in); h: the residual stream
    sample: Tensor | None = None  # a sample of the tokens, (sampled, in), in their own dtype
    target: Target = UNCORRECTED
    derived: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)

    def once(self, key: Any, derive: Callable[[Tensor], T]) -> T:
        """`derive(gram)`, computed once for all layers that share this input; with the unit
        diagonal if the Gram matrix itself is not collected."""
        if key not in self.derived:
            gram = self.unit_gram if self.gram is None else self.gram
            assert gram is not None
            self.derived[key] = derive(gram)
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

        self.needs, self.varies = needs, Statistic.VAR in needs
        self.sequences = 0
        self.tokens = 0
        self.mean = zeros(width)
        self.scatter = zeros(width)  # sum over tokens of (A_k - mean_k)^2
        self.scatter_within = zeros(width)  # the same around each sequence's own mean
        grams = needs & {Statistic.GRAM, Statistic.NORMALISED}
        self.gram = zeros(width, width, dtype=torch.float32) if grams else None
        self.sample: list[Tensor] | None = [] if Statistic.SAMPLE in needs else None

    def update(self, inputs: Tensor, sampled: int = 0) -> None:
        """Count `inputs: (sequences, tokens, in)`, and keep `sampled` tokens of each sequence.

        Sequences are added one by one, so that the sums do not depend on the micro-batch.
        """
        for sequence in inputs:
            mean, scatter = moments(sequence, self.varies)
            self.combine(1, len(sequence), mean, scatter, scatter)
        if self.gram is not None:
            add_gram(self.gram, inputs)
        if self.sample is not None:
            self.sample.append(spread(inputs, sampled))

    def gathered(self, ranks: Ranks, dtype: torch.dtype) -> Accumulator:
        """What all processes have counted. `dtype`: of the activations, for a process that counted
        none."""
        whole = Accumulator(len(self.mean), self.needs, self.mean.device)
        counts = ranks.gather((self.sequences, self.tokens))
        parts = ranks.concat(torch.stack([self.mean, self.scatter, self.scatter_within])[None])
        if self.gram is not None:
            whole.gram = ranks.sum(self.gram)
        if self.sample is not None:
            none = self.mean.new_empty(0, len(self.mean), dtype=dtype)
            whole.sample = [ranks.concat(torch.cat(self.sample or [none]))]
        for (sequences, tokens), part in zip(counts, parts, strict=True):
            whole.combine(sequences, tokens, *part)
        return whole

    def combine(
        self, sequences: int, tokens: int, mean: Tensor, scatter: Tensor, within: Tensor
    ) -> None:
        """Count tokens of which mean and scatter are known."""
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
        found = InputStatistics(
            sequences=self.sequences,
            tokens=self.tokens,
            mean=self.mean.float(),
            var=(self._variance(self.scatter) if self.varies else none).float(),
            sequence_var=(self._variance(self.scatter_within) if self.varies else none).float(),
            norm=(square_sum / self.sequences).sqrt().float(),
            gram=None if self.gram is None else mirror(self.gram) / self.tokens,
            sample=torch.cat(self.sample) if self.sample else None,
        )
        return with_unit_gram(found, self.needs)

    def _variance(self, scatter: Tensor) -> Tensor:
        var = scatter / self.tokens
        return var.masked_fill(var <= CONSTANT * self.mean.square(), 0)


def with_unit_gram(statistics: InputStatistics, needs: frozenset[Statistic]) -> InputStatistics:
    """With the Gram matrix of unit diagonal if a method needs it. It takes the place of the Gram
    matrix, unless a method needs both."""
    gram = statistics.gram
    if gram is None or Statistic.NORMALISED not in needs:
        return statistics
    gram, kept = (gram.clone(), gram) if Statistic.GRAM in needs else (gram, None)
    unit = to_unit_diagonal(gram)
    return replace(statistics, gram=kept, unit_gram=gram, unit=unit)
