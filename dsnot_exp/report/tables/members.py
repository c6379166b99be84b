"""The runs of each table of a sweep that has several tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from dsnot_exp.report.composition import composition
from dsnot_exp.report.runs import Run
from dsnot_exp.report.tables.layouts import Layout

MAIN = {"refine.max_cycles": (50, "auto")}  # in the main table


def members(layout: Layout, runs: Sequence[Run]) -> list[Run]:
    """The runs of a layout's table. The main table has the usual value of every varied option. A
    study has all values of its own option, in the columns for which it varies."""
    runs = [run for run in runs if run.method != "dense"] if layout.varied else list(runs)
    usual = {key: _usual(key, runs) for key in layout.varied}

    def plain(run: Run, key: str) -> bool:
        return run.options.get(key) is None or str(run.options[key]) in usual[key]

    near = [r for r in runs if all(plain(r, k) for k in layout.varied if k != layout.study)]
    study = layout.study
    if study is not None:
        axes = ["model", *(axis for axis in layout.axes if axis != study)]
        own = {_place(run, axes) for run in near if not plain(run, study)}
        near = [run for run in near if _place(run, axes) in own]
        near = _beside(study, near) if study.startswith("refine.") else near
    for axis, values in layout.only.items():
        near = [run for run in near if run.axis(axis) in values] or near
    return near


def _beside(study: str, runs: Sequence[Run]) -> list[Run]:
    """The runs that have an option of a refiner, and those that differ in having no refiner."""
    bases = {_unrefined(run) for run in runs if study in run.options}
    return [
        run
        for run in runs
        if study in run.options or (run.variant == _unrefined(run) and run.variant in bases)
    ]


def _unrefined(run: Run) -> str:
    return composition(run.options, without=("refine",))


def _usual(key: str, runs: Sequence[Run]) -> set[str]:
    """The option's values in the main table: fixed ones if there are any, else those that at least
    half as many runs have as the most frequent one."""
    count = Counter(str(run.options[key]) for run in runs if run.options.get(key) is not None)
    fixed = {str(value) for value in MAIN.get(key, ())} & set(count)
    most = max(count.values(), default=0)
    return fixed or {value for value, times in count.items() if 2 * times >= most}


def _place(run: Run, axes: Sequence[str]) -> tuple[Any, ...]:
    return tuple(str(run.axis(axis)) for axis in axes)
