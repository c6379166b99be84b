"""What each kind of method receives and returns. A method is a frozen dataclass whose fields are
its options; it sees one layer at a time and knows nothing of models or files.

Notation: `weight: (out, in)`, `mask: (out, in)` bool, True = kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from dsnot_exp.methods.patterns import Pattern
from dsnot_exp.methods.statistics import InputStatistics, Statistic

# Whether a method treats every row of a weight by itself. Processes share out the rows of such a
# method; one that looks at all rows `together` is given the whole matrix in every process.
Rows = Literal["independent", "together"]
Needs = frozenset[Statistic]


@dataclass(frozen=True)
class Initial:
    """An initial mask, the weight it applies to, and the scores it came from: (out, in) each.

    moved: the method has changed kept weights (SparseGPT); else `weight` is the dense weight
    note: what the user should know about how it was made
    """

    mask: Tensor
    weight: Tensor
    scores: Tensor
    moved: bool = False
    note: str = ""

    def present(self, dense: Tensor) -> Tensor:
        """The value of every weight where it is kept: a kept weight's own, and the dense value of
        one that is grown. dense: (out, in)"""
        return torch.where(self.mask, self.weight, dense) if self.moved else dense


@dataclass(frozen=True)
class Layer:
    """A dense weight (out, in), its initial mask, its input's statistics and its pattern."""

    weight: Tensor
    initial: Initial
    statistics: InputStatistics
    pattern: Pattern


@dataclass(frozen=True)
class Refined:
    """A refined mask (out, in), and per row the expected error before and after, and the swaps."""

    mask: Tensor
    error_before: Tensor
    error_after: Tensor
    swaps: Tensor


class Pruner(Protocol):
    """A layer's weight, its input's statistics and a pattern -> an initial mask.

    equal_rows: a refiner follows, which compares weights within a row, so every row must
        have the same budget

    A pruner that changes weights which it keeps has `moves`, which is true then.
    """

    @property
    def needs(self) -> Needs: ...
    @property
    def rows(self) -> Rows: ...

    def __call__(
        self,
        weight: Tensor,
        statistics: InputStatistics | None,
        pattern: Pattern,
        equal_rows: bool,
    ) -> Initial: ...


class Refiner(Protocol):
    """A layer's dense weight, initial mask and input statistics -> a better mask.

    skip: globs of linears, named inside a block, that keep their initial mask

    A refiner may also have `candidates`, see below, and `guard`, see refine/guard.py.
    """

    @property
    def needs(self) -> Needs: ...
    @property
    def rows(self) -> Rows: ...
    @property
    def skip(self) -> list[str]: ...

    def __call__(
        self,
        weight: Tensor,
        initial: Initial,
        statistics: InputStatistics,
        pattern: Pattern,
        generator: torch.Generator,
    ) -> Refined: ...


def candidates(refiner: Refiner | None) -> Mapping[str, Refiner]:
    """The refiners that `refiner` leaves to choose from, by their budget, from small to large. The
    walk chooses one for every block, on held-out tokens. Empty: `refiner` itself is applied."""
    found: Mapping[str, Refiner] = getattr(refiner, "candidates", {})
    return found


class Reconstructor(Protocol):
    """Updates the kept weights under a fixed mask: dense, sparse, mask (out, in) -> (out, in)."""

    @property
    def needs(self) -> Needs: ...
    @property
    def rows(self) -> Rows: ...

    def __call__(
        self, dense: Tensor, sparse: Tensor, mask: Tensor, statistics: InputStatistics | None
    ) -> Tensor: ...


class Finetuner(Protocol):
    """Trains the sparse model in place under its mask, on sequences of `dataset`."""

    @property
    def dataset(self) -> str: ...
    @property
    def steps(self) -> int: ...
    @property
    def seqlen(self) -> int | None: ...
    @property
    def sequences(self) -> int: ...

    def refuse(self, layer: str, is_expert: bool) -> None:
        """Raise RequestError for a layer that cannot be trained under a mask."""

    def __call__(
        self,
        model: Any,
        parameters: Sequence[str],
        ids: Tensor,
        seed: int,
        on_step: Callable[[float], None],
    ) -> dict[str, Any]:
        """Train `parameters` (names of sparse weights) on `ids: (sequences, tokens)`; returns what
        result.json records. `on_step` receives the loss of each step."""
