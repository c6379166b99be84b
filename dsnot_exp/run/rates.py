"""Measures what a forecast needs: one block of each model, and single layers, with random weights
of the real shapes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import torch

from dsnot_exp.methods.patterns import NM
from dsnot_exp.models.made import Made
from dsnot_exp.models.streamed import empty
from dsnot_exp.run.block_rate import MOST, BlockRate, block_rate, rough_token
from dsnot_exp.run.layer_rate import LayerRates, size_like
from dsnot_exp.run.model_shape import ModelShape
from dsnot_exp.run.work import PlannedRun, foreseen, walks
from dsnot_exp.utils.accelerator import free_memory, is_accelerator, release_memory
from dsnot_exp.utils.batch_size import per_forward
from dsnot_exp.utils.errors import DsnotError, first_line
from dsnot_exp.walk.recipe import Recipe

T = TypeVar("T")
SHORT_S = 10.0  # runs that take less together need no forecast
# Time to measure layers: this share of what the forwards will take, between these seconds.
LAYERS_SHARE, LAYERS_S = 0.02, (0.3, 20.0)


@dataclass
class Rates:
    """processes: share the forwards of a run
    blocks: rates of each model, by its key; absent: why there are none
    layers: by recipe, up to what changes no cost
    short: the runs take so little that nothing was measured
    """

    processes: int = 1
    blocks: dict[str, BlockRate] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    layers: dict[str, LayerRates] = field(default_factory=dict)
    short: bool = False

    def measure(self, runs: Sequence[PlannedRun]) -> None:
        models = {run.shape.key: run for run in runs}
        rough = {name: self._tried(run, _rough) for name, run in models.items()}
        tokens = {name: token for name, token in rough.items() if token is not None}
        least = sum(_forwards(run) * tokens.get(run.shape.key, 0.0) for run in runs)
        self.short = not self.absent and least < SHORT_S * self.processes
        for name, token in () if self.short else tokens.items():
            recipes = [r for run in runs if run.shape.key == name for r in run.recipes]
            rate = self._tried(models[name], partial(_rate, recipes=recipes, rough=token))
            if rate is not None:
                self.blocks[name] = rate
        most = max(LAYERS_S[0], min(LAYERS_S[1], LAYERS_SHARE * least / self.processes))
        self._measure_layers([run for run in runs if run.shape.key in self.blocks], most)

    def of_layers(self, run: PlannedRun, recipe: Recipe) -> LayerRates | None:
        return self.layers.get(_key(run, recipe))

    def _tried(self, run: PlannedRun, measure: Callable[[PlannedRun, Made], T]) -> T | None:
        """What is measured on a block of the run's model; None, and why, if it cannot be made."""
        shape, device = run.shape, run.plan.device
        if (why := too_large(shape, device)) is None:
            try:
                made = Made.of(shape.model, shape.blocks, device, shape.options.dense)
                return measure(run, made)
            except (DsnotError, RuntimeError) as error:  # out of memory is a RuntimeError
                why = first_line(error)
            finally:
                empty(shape.model)
                release_memory()
        self.absent[shape.key] = why
        return None

    def _measure_layers(self, runs: Sequence[PlannedRun], seconds: float) -> None:
        """Each recipe gets an equal part of the `seconds`."""
        found: dict[str, tuple[LayerRates, float]] = {}
        for run, recipe in walks(runs):
            key, place = _key(run, recipe), (run.shape.dtype, run.plan.device)
            rates, largest = found.get(key, (LayerRates(recipe, *place, run.sampled), 0.0))
            sizes = [size_like(rows, width, square=True) for rows, width, _ in run.shape.layers]
            found[key] = rates, max(largest, *sizes)
        for key, (rates, largest) in found.items():
            try:
                rates.measure(int(largest), seconds / len(found))
            except (DsnotError, ArithmeticError, RuntimeError):
                continue
            self.layers[key] = rates
        release_memory()


def too_large(shape: ModelShape, device: torch.device) -> str | None:
    """Why one block of the model cannot be tried on the device; None if it can."""
    needed, free = shape.around_bytes + shape.block_bytes, free_memory(device)
    if needed > free:
        return f"a block and the embeddings take {needed:,} bytes, and {free:,} are free"
    weights = shape.block_bytes // shape.dtype.itemsize
    if not is_accelerator(device) and weights > MOST:
        return f"a block of {weights:,} weights is too large to be tried on a CPU"
    return None


def _forwards(run: PlannedRun) -> int:
    """Tokens through blocks, at least."""
    own = [run.walk(recipe) for recipe in run.recipes[:1]]
    walked = sum(tokens.collected + tokens.alone for tokens in own)
    return run.blocks * run.evaluated() + walked


def _rough(run: PlannedRun, made: Made) -> float:
    return rough_token(made, run.seqlen)


def _rate(run: PlannedRun, made: Made, recipes: list[Recipe], rough: float) -> BlockRate:
    size = run.plan.config.calib.batch_size or per_forward(run.seqlen)
    needed = [(recipe.needs, recipe.dense_stream) for recipe in recipes if foreseen(recipe)]
    return block_rate(made, needed, run.seqlen, size, rough)


def _key(run: PlannedRun, recipe: Recipe) -> str:
    """Of a recipe, what its methods' time depends on. Sparsity and seed hardly change it."""
    methods = (recipe.pruner, recipe.refiner, recipe.reconstructor, recipe.target)
    pattern = recipe.pattern if isinstance(recipe.pattern, NM) else None
    place = (run.shape.dtype, run.plan.device, run.sampled)
    return repr((methods, pattern, recipe.relative_error, place))
