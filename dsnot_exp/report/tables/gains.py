"""What refinement changes: a cell beside the same cell without refinement."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from dsnot_exp.report.composition import composition, first, methods
from dsnot_exp.report.runs import VARIANT, Run
from dsnot_exp.report.tables.groups import fits
from dsnot_exp.report.tables.layouts import Layout
from dsnot_exp.report.tables.marks import compared
from dsnot_exp.report.tables.table import Cell, Measured, pool

OTHER_MASK = (
    "Magnitude and RIA compare over the whole matrix alone, and within rows before a refiner: "
    "these are two initial masks, and no change is shown."
)


def without_refinement(
    at: dict[str, Any], runs: Sequence[Run], alone: bool = False
) -> dict[str, Any]:
    """The place of the same cell without refinement; the place itself if nothing was refined.

    runs: the runs of the cell
    alone: the place of the initializer alone, without any other method
    """
    before = dict(at)
    for axis, value in at.items():
        if axis in ("method", VARIANT) and alone:
            before[axis] = first(str(value))
        elif axis in ("method", VARIANT) and runs:
            name = composition if axis == VARIANT else methods
            before[axis] = name(runs[0].options, without=("refine",))
        elif axis.startswith("refine."):
            before[axis] = None
    return before


def other_mask(run: Run) -> bool:
    """Whether the same method makes another initial mask once a refiner follows: magnitude and RIA
    compare over the whole matrix alone, and within rows before a refiner."""
    options = run.options
    return (
        options.get("prune.name") in ("magnitude", "ria") and options.get("prune.scope") == "auto"
    )


def with_change(cell: Cell, before: float | None, lower: bool, shown: bool) -> Cell:
    """Mark a cell that is better or worse than `before`. shown: the table shows the change"""
    marked = compared(cell, before, lower)
    if cell.value is None or not shown or not before:
        return marked
    return replace(marked, change=cell.value / before - 1)


def percent(cell: Cell) -> str:
    """`-12.3 %`; no text if the table does not show the change."""
    return "" if cell.change is None else f"{100 * cell.change:+.1f} %"


def changes(
    rows: Sequence[tuple[str, ...]], columns: Sequence[str], cells: Sequence[Sequence[Cell]]
) -> list[str]:
    """A note: in how many cells refinement helps, and every cell in which it does not."""
    known, worse = 0, list[str]()
    for row, line in zip(rows, cells, strict=True):
        shown = [
            (c, column) for column, c in zip(columns, line, strict=True) if c.change is not None
        ]
        known += len(shown)
        bad = [f"{column} ({percent(cell)})" for cell, column in shown if not cell.better]
        worse += [f"{', '.join(row)}: {', '.join(bad)}"] if bad else []
    if not known:
        return []
    helped = sum(cell.change is not None and cell.better for line in cells for cell in line)
    listed = f" Not better: {'; '.join(worse)}." if worse else ""
    return [f"Refinement is better than its initial mask in {helped} of {known} cells.{listed}"]


def alone(
    layout: Layout,
    runs: Sequence[Run],
    fixed: dict[str, Any],
    measure: Callable[[Run], Measured | None],
) -> Iterator[str]:
    """Notes on runs without refinement, which are not on the axes."""
    for run in runs:
        same = fits(run, {k: v for k, v in fixed.items() if k != "refine.name"})
        cell = pool([run], measure)
        if run.options.get(layout.rows[0]) is None and same and cell.value is not None:
            which = f"{run.model}, {run.variant}, {run.budget}"
            yield f"Without refinement: {which}: {cell.value:.4g}."
