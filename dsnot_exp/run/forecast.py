"""What runs will cost, before any of them has run.

Not part of it: reading the weights, zero-shot tasks, and what a run does outside its walks and
perplexities. A run that trains, or whose allocator looks at the model, has no forecast.
"""

from __future__ import annotations

from dsnot_exp.run.block_rate import costly
from dsnot_exp.run.price import Price
from dsnot_exp.run.rates import Rates
from dsnot_exp.run.work import PlannedRun, foreseen
from dsnot_exp.walk.recipe import Recipe


def price(run: PlannedRun, rates: Rates) -> Price:
    if run.shape.key not in rates.blocks:
        return Price()
    own, initial = (walk_seconds(run, recipe, rates) for recipe in run.recipes or (None, None))
    trains = run.plan.finetuner is not None
    return Price(None if trains else own, initial, evaluation_seconds(run, rates))


def walk_seconds(run: PlannedRun, recipe: Recipe | None, rates: Rates) -> float | None:
    """Of one walk; None if they are not known."""
    if recipe is None or not foreseen(recipe):
        return None
    layers = rates.of_layers(run, recipe)
    if layers is None:
        return None
    rate = rates.blocks[run.shape.key]
    one = sum(layers.layer(rows, width, n in rate.shared) for rows, width, n in run.shape.layers)
    shared = rates.processes if recipe.rows_independent else 1
    return _forwards(run, recipe, rates) + run.blocks * one / shared + _copies(run, rates, walks=1)


def evaluation_seconds(run: PlannedRun, rates: Rates) -> float:
    """Of one stage's perplexities."""
    rate = rates.blocks[run.shape.key]
    forwards = run.evaluated() * (run.blocks * rate.token + rate.head) / rates.processes
    return forwards + _copies(run, rates, walks=len(run.plan.config.eval.perplexity))


def _forwards(run: PlannedRun, recipe: Recipe, rates: Rates) -> float:
    tokens, rate = run.walk(recipe), rates.blocks[run.shape.key]
    if not tokens.collected:
        return 0.0
    collecting = rate.collecting[costly(recipe.needs, recipe.dense_stream)]
    seconds = tokens.collected * collecting.token + tokens.alone * rate.token
    return run.blocks * collecting.once + seconds / rates.processes


def _copies(run: PlannedRun, rates: Rates, walks: int) -> float:
    """To bring each block to the device once per walk, where the device does not hold them all."""
    if run.shape.whole(run.plan.device):
        return 0.0
    return walks * run.blocks * rates.blocks[run.shape.key].copy
