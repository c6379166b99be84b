"""The options of the allocators that have any. They need no torch: options are checked before it is
imported."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

BY = ("matrix", "block")
PRUNERS = ("sparsegpt", "wanda")  # of the trials of a search


@dataclass(frozen=True)
class Bounded:
    """most: the largest sparsity that a layer may get"""

    most: float = 0.95

    def __post_init__(self) -> None:
        if not 0 < self.most < 1:
            raise ValueError(f"most={self.most}: expected a fraction in (0, 1), such as 0.95")


@dataclass(frozen=True)
class Grouped(Bounded):
    """by: every `matrix` has a sparsity of its own, or all matrices of a `block` share one"""

    by: str = "block"
    ways: ClassVar[tuple[str, ...]] = BY

    def __post_init__(self) -> None:
        super().__post_init__()
        _refuse_unknown("by", self.by, self.ways)


@dataclass(frozen=True)
class FisherOptions(Grouped):
    """samples: calibration sequences of whose loss the gradient is taken
    reach: how far below the model's sparsity a layer's may lie
    step: which part of the way from the model's sparsity to the best one is taken
    damping: added to the diagonal of the normalised Gram matrix, which is 1
    """

    by: str = "matrix"
    samples: int = 8
    reach: float = 0.3
    step: float = 0.5
    damping: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        _refuse_below("samples", self.samples, 1)
        _refuse_outside("reach", self.reach)
        _refuse_outside("step", self.step)
        if not 0 < self.damping < float("inf"):
            raise ValueError(f"damping={self.damping}: expected more than 0")


@dataclass(frozen=True)
class OWLOptions(Grouped):
    """outlier: a weight is an outlier if its score is more than so many times the mean (M)
    spread: the sparsities lie at most so far from their mean (lambda)
    """

    outlier: float = 5.0
    spread: float = 0.08

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.outlier < float("inf"):
            raise ValueError(f"outlier={self.outlier}: expected more than 0")
        _refuse_outside("spread", self.spread)


@dataclass(frozen=True)
class AlphaOptions(Grouped):
    """epsilon: the sparsities lie between 1 - epsilon and 1 + epsilon times the model's, before
    they are scaled to its total"""

    epsilon: float = 0.3

    def __post_init__(self) -> None:
        super().__post_init__()
        _refuse_outside("epsilon", self.epsilon)


@dataclass(frozen=True)
class LinearOptions(Grouped):
    """samples: calibration sequences on which the slope is chosen
    slopes: how many are tried, from 0 to the steepest
    pruner: of the trials, `sparsegpt` or `wanda`
    """

    samples: int = 8
    pruner: str = "sparsegpt"
    slopes: int = 9
    ways: ClassVar[tuple[str, ...]] = ("block",)

    def __post_init__(self) -> None:
        super().__post_init__()
        _refuse_below("samples", self.samples, 1)
        _refuse_below("slopes", self.slopes, 2)
        _refuse_unknown("pruner", self.pruner, PRUNERS)


@dataclass(frozen=True)
class SearchOptions(Grouped):
    """samples: calibration sequences on which allocations are compared
    generations: how often the best of the parent and its offspring becomes the next parent
    offspring: candidates per generation
    level: the sparsity that one mutation moves from one layer of average size to another
    pruner: of the trials, `sparsegpt` or `wanda`
    """

    by: str = "matrix"
    samples: int = 8
    generations: int = 40
    offspring: int = 8
    level: float = 0.02
    pruner: str = "sparsegpt"

    def __post_init__(self) -> None:
        super().__post_init__()
        for key in ("samples", "generations", "offspring"):
            _refuse_below(key, getattr(self, key), 1)
        _refuse_unknown("pruner", self.pruner, PRUNERS)
        if not 0 < self.level <= 0.5:
            raise ValueError(f"level={self.level}: expected a fraction in (0, 0.5], such as 0.02")


@dataclass(frozen=True)
class FileOptions(Bounded):
    """path: of a YAML file that maps globs of layers to a sparsity or to N:M; the last glob that
    matches a layer counts"""

    path: str | None = None


def _refuse_below(key: str, value: int, least: int) -> None:
    if value < least:
        raise ValueError(f"{key}={value}: expected {least} or more")


def _refuse_outside(key: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"{key}={value}: expected a fraction in [0, 1]")


def _refuse_unknown(key: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{key}={value}: choose from {', '.join(choices)}")
