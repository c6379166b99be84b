"""The cells of a grid: means over seeds, and the dense values."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from dsnot_exp.report.runs import Run
from dsnot_exp.report.tables.comparison import OFF, same_weights
from dsnot_exp.report.tables.entries import Options
from dsnot_exp.report.tables.groups import FREE, ONLY_ACCURACY, ONLY_PERPLEXITY
from dsnot_exp.report.tables.measures import MEAN, MEASURES
from dsnot_exp.report.tables.table import NOT_MEASURED, Cell, Measured, average, pool


def pooled(runs: list[Run], measure: str, name: str, tasks: list[str]) -> Cell:
    value = MEASURES[measure].of
    if name != MEAN:
        return pool(runs, lambda run: value(run, name, "refined"))
    by_seed: dict[str, list[Run]] = {}
    for run in runs:
        by_seed.setdefault(str(run.options.get("seed")), []).append(run)
    means = {
        id(own[0]): average(_first(own, measure, task) for task in tasks)
        for own in by_seed.values()
    }
    return pool([own[0] for own in by_seed.values()], lambda run: means[id(run)])


def _first(runs: list[Run], measure: str, task: str) -> Measured | None:
    """Of several runs of one sparse model, the first that has measured the task."""
    found = (MEASURES[measure].of(run, task, "refined") for run in runs)
    return next((value for value in found if value is not None), None)


def dense_cell(runs: Sequence[Run], one: Run, measure: str, name: str, tasks: list[str]) -> Cell:
    """From any run of the same weights that has measured the dense model in the same way."""
    text = name if measure == "perplexity" else ""
    asked = _asked_of(one, measure)
    same = [r for r in runs if same_weights(r, one, text) and _asked_of(r, measure) == asked]

    def of(run: Run, task: str) -> Measured | None:
        stages = ("dense", "refined") if run.method == "dense" else ("dense",)
        values = (MEASURES[measure].of(run, task, stage) for stage in stages)
        return next((value for value in values if value is not None), None)

    def any_of(task: str) -> Measured | None:
        return next((v for v in map(partial(of, task=task), same) if v is not None), None)

    found = average(map(any_of, tasks)) if name == MEAN else any_of(name)
    return Cell(words=NOT_MEASURED) if found is None else Cell(found.value, spread=found.error)


def _asked_of(run: Run, measure: str) -> Options:
    """The options that a value of this measure depends on."""
    free = FREE | (ONLY_PERPLEXITY if measure == "accuracy" else ONLY_ACCURACY)
    own = {k: v for k, v in run.options.items() if k.startswith("eval.") and k not in free}
    return tuple(sorted((key, str(value)) for key, value in own.items() if value not in OFF))
