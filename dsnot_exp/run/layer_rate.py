"""What the methods of a recipe cost on one layer: measured on square layers of random weights, from
small to large while the time for it lasts. Other shapes follow from these."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import torch

from dsnot_exp.methods.protocols import Needs, candidates
from dsnot_exp.methods.statistics import Accumulator, InputStatistics, Statistic
from dsnot_exp.models.made import random_tensor
from dsnot_exp.run.check_memory import SQUARE
from dsnot_exp.utils.accelerator import wait
from dsnot_exp.utils.distributed import ALONE
from dsnot_exp.walk.layer_solver import LayerSolver
from dsnot_exp.walk.recipe import MEASURED_WITH, Recipe

UNIT = 64  # a size is a multiple of it, and so of M in N:M
LEAST = 256  # the smallest size to measure
REPEATS = 3
SHORT_S = 0.02  # a measurement that takes less is repeated
REST = "rest"  # what is in no phase: the layer's errors

Seconds = dict[str, float]  # by phase


@dataclass
class LayerRates:
    """Seconds of a recipe's methods on layers of any shape.

    sampled: tokens of the sample that a layer's errors are measured on
    points: by the size n of a layer (n, n), the seconds of the first layer that has its statistics,
        and of another one with the same: what derives from a Gram matrix is made once
    """

    recipe: Recipe
    dtype: torch.dtype
    device: torch.device
    sampled: int
    points: dict[int, tuple[Seconds, Seconds]] = field(default_factory=dict)

    def measure(self, largest: int, seconds: float) -> None:
        """Measure sizes up to `largest`, as long as the next one is likely to end in time."""
        sizes, took, start = [largest], 0.0, time.perf_counter()
        while sizes[-1] >= 2 * LEAST:
            sizes.append(sizes[-1] // 2)
        for size in sorted({max(UNIT, n - n % UNIT) for n in sizes}):
            begin = time.perf_counter()
            growth = (size / max(self.points, default=size)) ** 2
            if self.points and begin - start + growth * took > seconds:
                break
            self.points[size] = self._measured(size)
            took = time.perf_counter() - begin

    def layer(self, rows: int, width: int, again: bool = False) -> float:
        """Seconds of a layer with `rows` x `width` weights. again: a layer before it has had the
        same input"""
        phases = next(iter(self.points.values()))[again]
        return sum(self._of_phase(phase, rows, width, again) for phase in phases)

    def _of_phase(self, phase: str, rows: int, width: int, again: bool) -> float:
        square = bool(self._needs(phase) & SQUARE)
        wanted = size_like(rows, width, square, again)
        known = {size: seconds[again][phase] for size, seconds in self.points.items()}
        return interpolated(known, wanted, exponent=3 if square else 2)

    def _needs(self, phase: str) -> Needs:
        recipe = self.recipe
        if phase == REST:
            return MEASURED_WITH[recipe.relative_error]
        if phase == "refine":
            return frozenset() if recipe.refiner is None else recipe.refiner.needs
        return recipe.pruner.needs if phase == "prune" else recipe.reconstructor.needs

    def _measured(self, size: int) -> tuple[Seconds, Seconds]:
        weight = random_tensor((size, size), self.dtype, self.device)
        found = self._statistics(size)
        self._solve(weight, found)  # loads kernels
        first: list[Seconds] = []
        again: list[Seconds] = []
        while len(first) < REPEATS:
            anew = None if found is None else replace(found, derived={})
            first.append(self._solve(weight, anew))
            again.append(self._solve(weight, anew))
            if sum(first[0].values()) > SHORT_S:
                break
        return min(first, key=_total), min(again, key=_total)

    def _statistics(self, size: int) -> InputStatistics | None:
        needs = self.recipe.needs
        if not needs:
            return None
        collected = Accumulator(size, needs, self.device)
        collected.update(random_tensor((1, self.sampled, size), self.dtype, self.device), size)
        drift = random_tensor((size, size), torch.float32, self.device)
        return replace(
            collected.finish(),
            drift=drift if Statistic.DRIFT in needs else None,
            residual_drift=drift if Statistic.RESIDUAL_DRIFT in needs else None,
        )

    def _solve(self, weight: torch.Tensor, statistics: InputStatistics | None) -> Seconds:
        """The seconds of each phase. With a budget to choose, all candidates are refined."""
        recipe, seconds = self.recipe, dict.fromkeys(("prune", "refine", "reconstruct"), 0.0)

        @contextmanager
        def timed(phase: str) -> Iterator[None]:
            start = time.perf_counter()
            yield
            wait(self.device)
            seconds[phase] += time.perf_counter() - start

        wait(self.device)
        begin = time.perf_counter()
        name, quiet = "made", lambda note: None
        layer = LayerSolver(recipe, name, name, recipe.pattern, ALONE, timed, quiet)
        layer.start(weight, statistics)
        budgets = candidates(recipe.refiner).values()
        refined = [layer.refine(refiner) for refiner in budgets or [recipe.refiner]]
        layer.finish(refined[-1])
        wait(self.device)
        return {**seconds, REST: time.perf_counter() - begin - sum(seconds.values())}


def _total(seconds: Seconds) -> float:
    return sum(seconds.values())


def size_like(rows: int, width: int, square: bool, again: bool = False) -> float:
    """The size n of a layer (n, n) that takes as many operations: for a method with a matrix
    (width, width) its products with the weights and its factorisation, which is not made `again`;
    else a pass over the weights."""
    if not square:
        return math.sqrt(rows * width)
    return float((width**2 * (rows if again else (rows + width) / 2)) ** (1 / 3))


def interpolated(known: dict[int, float], size: float, exponent: int) -> float:
    """The value at `size`, on straight lines between logarithms. A smaller one is not smaller than
    the smallest known. A larger one grows with the mean of the last line's slope and `exponent`,
    which the slope nears: small layers leave a device idle."""
    sizes = sorted(known)
    if size <= sizes[0]:
        return known[sizes[0]]
    below = max(n for n in sizes if n <= size)
    last = sizes[-2:]
    if below == sizes[-1]:
        slope = _slope(known, *last) if len(last) == 2 else exponent
        slope = max(0.0, min(exponent, slope))
        return float(known[below] * (size / below) ** ((slope + exponent) / 2))
    above = min(n for n in sizes if n > size)
    return float(known[below] * (size / below) ** _slope(known, below, above))


def _slope(known: dict[int, float], below: int, above: int) -> float:
    tiny = 1e-9  # a phase without a method takes no time
    growth = max(tiny, known[above]) / max(tiny, known[below])
    return math.log(growth) / math.log(above / below)
