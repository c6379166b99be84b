"""What an allocator receives and returns: it gives every layer a pattern of its own.

There are three kinds. An `Allocator` looks at nothing but names. A `Surveyor` notes a few numbers
of each block of the dense model, and allocates once it has those of all. A `Searcher` compares
allocations by what the model makes of calibration tokens under them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from dsnot_exp.methods.patterns import Pattern
from dsnot_exp.methods.protocols import Needs
from dsnot_exp.methods.statistics import InputStatistics


@dataclass(frozen=True)
class Site:
    """Where a layer is, and how large. block: the name of its block in the model"""

    block: str
    rows: int
    width: int

    @property
    def weights(self) -> int:
        return self.rows * self.width


@dataclass(frozen=True)
class Seen:
    """What a surveyor sees of a layer of the dense model.

    weight: (out, in)
    statistics: of its input; None if none are needed
    gradient: mean over tokens of the squared gradient of the loss at each output, (out,); None if
        not asked for
    """

    weight: Tensor
    statistics: InputStatistics | None = None
    gradient: Tensor | None = None


class Allocator(Protocol):
    """The names of a model's prunable layers and the model's pattern -> each layer's pattern."""

    def __call__(self, layers: Sequence[str], pattern: Pattern) -> dict[str, Pattern]: ...


class Surveyor(Protocol):
    """needs: the statistics of the dense model's inputs; empty: no forward is made
    gradients: calibration sequences of whose loss the gradient is taken; 0: none
    """

    @property
    def needs(self) -> Needs: ...
    @property
    def gradients(self) -> int: ...

    def survey(self, layers: Mapping[str, Seen]) -> dict[str, list[float]]:
        """A few numbers per layer. `layers`: those of one block, by their name in the model."""

    def allocate(
        self, surveyed: Mapping[str, list[float]], sites: Mapping[str, Site], pattern: Pattern
    ) -> dict[str, Pattern]:
        """Each layer's pattern. A layer without calibration tokens is in `sites` alone."""


class Distance(Protocol):
    """How far the predictions of the model under an allocation are from those of the dense one, the
    same in every process. sequences: look at the first of them only"""

    def __call__(self, patterns: Mapping[str, Pattern], sequences: int | None = None) -> float: ...


class Memory(Protocol):
    """Keeps what a search needs to resume, as plain data."""

    def recall(self) -> Any:
        """What was kept last; None at the start."""

    def keep(self, state: Any) -> None: ...


class Searcher(Protocol):
    """samples: calibration sequences on which allocations are compared
    pruner: how the model is pruned to compare them, the name of a pruner
    steps: how often it keeps its state
    """

    @property
    def samples(self) -> int: ...
    @property
    def pruner(self) -> str: ...
    @property
    def steps(self) -> int: ...

    def search(
        self,
        sites: Mapping[str, Site],
        pattern: Pattern,
        distance: Distance,
        memory: Memory,
        seed: int,
    ) -> dict[str, Pattern]:
        """Each layer's pattern."""
