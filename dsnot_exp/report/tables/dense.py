"""The dense value of a cell: of the same weights, measured in the same way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from dsnot_exp.report.runs import Run
from dsnot_exp.report.tables.groups import fits
from dsnot_exp.report.tables.table import Cell, Measured, pool

WEIGHTS = ("model.path", "model.revision", "model.dtype")  # what a dense value depends on


def same_dense(
    model: str,
    runs: Sequence[Run],
    everyone: Sequence[Run],
    fixed: dict[str, Any],
    more: Iterable[str],
) -> list[Run]:
    """The runs whose dense value fits beside `runs`.

    everyone: the runs to search
    fixed: the values that `runs` share
    more: further options that the value depends on
    """
    compared = {k: v for k, v in fixed.items() if k.split(".")[0] in ("seqlen", "eval")}
    beside = next((run for run in runs if run.model == model), None)
    if beside is not None:
        keys = [key for key in (*WEIGHTS, *more) if key in beside.options]
        compared |= {key: beside.options[key] for key in keys}
    return [run for run in everyone if run.model == model and fits(run, compared)]


def first_dense(
    runs: Sequence[Run], measure: Callable[[Run, str], Measured | None]
) -> tuple[Cell, list[Run]]:
    """The value of the first run that has one, and the run. measure: by the stage"""
    for run in runs:
        stages = ("dense", "refined") if run.method == "dense" else ("dense",)
        for measured in (measure(run, stage) for stage in stages):
            if measured is not None:
                return Cell(measured.value, spread=measured.error), [run]
    return pool(runs, lambda run: None), list(runs[:1])
