"""Sparsity patterns: scores -> mask, and checks of a mask.

Notation (throughout the package): `weight: (out, in)`, `mask: (out, in)` bool, True = kept,
`scores: (out, in)` float, the smallest are pruned first.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import hardshrink

from dsnot_exp.methods.notation import pruned_share, read_pattern
from dsnot_exp.methods.topk import counts, smallest
from dsnot_exp.utils.accelerator import is_accelerator
from dsnot_exp.utils.distributed import Ranks
from dsnot_exp.utils.errors import RequestError

SAMPLE = 1 << 16  # values of which `roughly` finds the threshold


@dataclass(frozen=True)
class Unstructured:
    """A fraction `sparsity` of the weights is zero: `int(in * sparsity)` of every row."""

    sparsity: float

    def mask(self, scores: Tensor, scope: str = "row") -> Tensor:
        """Keep the largest scores, compared within a `row` or over the whole `matrix`."""
        if scope == "matrix":
            flat = scores.reshape(1, -1)
            return ~smallest(flat, int(flat.shape[1] * self.sparsity)).reshape(scores.shape)
        return ~smallest(scores, int(scores.shape[1] * self.sparsity))

    def roughly(self, values: Tensor) -> Tensor:
        """The largest `values: (out, in)` of the matrix by magnitude, 0 in place of the others.
        Faster than `mask`: the threshold comes from a sample, and the budget is off by less than
        one percent of the values."""
        return self._shrunk(values, _sampled(values, 0, values.numel()))

    def _shrunk(self, values: Tensor, sample: Tensor) -> Tensor:
        count = int(len(sample) * self.sparsity)
        if not count:
            return values.clone()
        return hardshrink(values, float(sample.abs().kthvalue(count).values))

    def refuse_width(self, width: int, layer: str) -> None:
        """Every width is valid."""

    def __str__(self) -> str:
        return "unstructured"


@dataclass(frozen=True)
class NM:
    """`n` of every `m` consecutive weights of a row are kept (the papers use 2:4 and 4:8)."""

    n: int
    m: int

    @property
    def sparsity(self) -> float:
        return pruned_share(self.n, self.m)

    def groups(self, matrix: Tensor) -> Tensor:
        """(out, in) -> (out, in / m, m)."""
        return matrix.unflatten(1, (-1, self.m))

    def mask(self, scores: Tensor, scope: str = "row") -> Tensor:
        """Keep the `n` largest scores of each group, whatever the `scope`."""
        return ~smallest(self.groups(scores), self.m - self.n).flatten(1)

    def roughly(self, values: Tensor) -> Tensor:
        return values * self.mask(values.abs())

    def refuse_width(self, width: int, layer: str) -> None:
        if width % self.m:
            raise RequestError(
                f"pattern={self}: {layer} has {width} inputs, not a multiple of {self.m}; "
                f"choose a pattern whose M divides {width}, or pattern=unstructured"
            )

    def __str__(self) -> str:
        return f"{self.n}:{self.m}"


Pattern = Unstructured | NM


def check_budget(before: Tensor, after: Tensor, pattern: Pattern) -> None:
    """A refined mask keeps as many weights per row, and per group, as the mask it came from."""
    if isinstance(pattern, NM):
        before, after = pattern.groups(before), pattern.groups(after)
    assert bool((counts(before) == counts(after)).all()), "refinement changed a budget"


def packed(mask: Tensor) -> bytes:
    """Eight entries per byte, the first in the highest bit, padded with zeros."""
    flat = mask.flatten().view(torch.uint8)
    if not is_accelerator(mask):
        return np.packbits(flat.numpy()).tobytes()
    bits = torch.nn.functional.pad(flat, (0, -flat.numel() % 8)).view(-1, 8)
    places = 1 << torch.arange(7, -1, -1, device=mask.device, dtype=torch.uint8)
    # Packed on the GPU, so that an eighth of the mask is copied to the host.
    return (bits * places).sum(1, dtype=torch.uint8).cpu().numpy().tobytes()


def parse(pattern: str, sparsity: float | str | None) -> Pattern:
    """The pattern that the options `pattern` and `sparsity` describe together."""
    read = read_pattern(pattern, sparsity)
    return NM(*read) if isinstance(read, tuple) else Unstructured(read)


@dataclass(frozen=True)
class SharedRows(Unstructured):
    """A pattern for one process's share of a matrix's rows. With `scope=matrix`, scores are
    compared with those of all processes."""

    ranks: Ranks = field(kw_only=True)

    def mask(self, scores: Tensor, scope: str = "row") -> Tensor:
        if scope == "row":
            return super().mask(scores, scope)
        everyones = self.ranks.concat(scores)
        return super().mask(everyones, scope)[self.ranks.share(len(everyones))]

    def roughly(self, values: Tensor) -> Tensor:
        rows, width = self.ranks.gather(len(values)), values.shape[1]
        own = _sampled(values, sum(rows[: self.ranks.rank]) * width, sum(rows) * width)
        return self._shrunk(values, self.ranks.concat(own))


def _sampled(values: Tensor, first: int, total: int) -> Tensor:
    """Every k-th of `total` values, of which `values` holds those from the `first` on: whoever
    holds which, the sample is the same."""
    every = -(-total // SAMPLE)
    return values.flatten()[-first % every :: every]


def over(pattern: Pattern, ranks: Ranks) -> Pattern:
    """`pattern` for a share of the rows. N:M groups lie within a row, so they need no exchange."""
    if ranks.size == 1 or not isinstance(pattern, Unstructured):
        return pattern
    return SharedRows(pattern.sparsity, ranks=ranks)
