"""What is marked in a table: the best values, what beats a baseline, the distance to dense."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from dsnot_exp.report.composition import first
from dsnot_exp.report.runs import VARIANT
from dsnot_exp.report.tables.table import Cell, Table
from dsnot_exp.results.method_names import pretty

METHODS = ("method", VARIANT)  # the head of a column of labels that are compositions
PRINTED = (*METHODS, "composition")  # likewise, and printed by their names
FEW = 3  # from so many rivals on, the second best is marked too


def with_best(cells: list[list[Cell]], contest: Sequence[object], lower: bool) -> list[list[Cell]]:
    """Mark the best cell of every column, and the second best of three or more, among the rows of
    a contest. None: no contest."""
    values: dict[tuple[object, int], list[float]] = {}
    for row, name in zip(cells, contest, strict=True):
        for place, cell in enumerate(row):
            if name is not None and cell.value is not None:
                values.setdefault((name, place), []).append(cell.value)
    ranks = {key: sorted(found, reverse=not lower) for key, found in values.items()}

    def marked(cell: Cell, name: object, place: int) -> Cell:
        order = ranks.get((name, place), [])
        if len(order) < 2 or cell.value is None:
            return replace(cell, best=False, second=False)
        best = cell.value == order[0]  # two may share it; then there is no second
        second = len(order) >= FEW and not best and cell.value == order[1]
        return replace(cell, best=best, second=second)

    return [
        [replace(c) if name is None else marked(c, name, place) for place, c in enumerate(row)]
        for row, name in zip(cells, contest, strict=True)
    ]


def compared(cell: Cell, before: float | None, lower: bool) -> Cell:
    """Mark a cell as better or worse than a value."""
    if cell.value is None or before is None:
        return cell
    gap = cell.value - before
    gain = -gap if lower else gap
    return replace(cell, better=gain > 0, worse=gain < 0, versus=gap)


def arrow(cell: Cell, table: Table) -> str:
    """Which way the value went from the baseline, where it is better or worse."""
    if not (cell.better or cell.worse):
        return ""
    return "↑" if cell.better == table.higher else "↓"


def names(table: Table) -> list[str]:
    """The compositions that have a row, and can be a baseline."""
    if not table.heads or table.heads[-1] not in METHODS:
        return []
    return list(dict.fromkeys(labels[-1] for labels in table.labels))


def against(table: Table, baseline: str | None = None) -> Table:
    """Mark the cells that are better or worse than the baseline's cell of their column.

    baseline: a row's composition, as `wanda` or `Wanda`; None: the initializer of each row alone,
        with the same other options
    """
    known = {_plain(name): name for name in names(table)}
    chosen = known.get(_plain(baseline)) if baseline is not None else None
    if not known or (baseline is not None and chosen is None):
        return table
    places = {labels: place for place, labels in enumerate(table.labels)}
    cells = []
    for labels, row in zip(table.labels, table.cells, strict=True):
        other = chosen or _alone(labels[-1], list(known.values()))
        beside = places.get((*labels[:-1], other)) if other else None
        clean = [replace(cell, better=False, worse=False, versus=None) for cell in row]
        if beside is not None and other != labels[-1] and labels[-1] != "dense":
            values = [cell.value for cell in table.cells[beside]]
            clean = [compared(c, v, not table.higher) for c, v in zip(clean, values, strict=True)]
        cells.append(clean)
    return replace(table, cells=cells, baseline=pretty(chosen) if chosen else "")


def _plain(name: str) -> str:
    return pretty(name.strip()).lower().replace(" ", "")


def _alone(label: str, others: Sequence[str]) -> str | None:
    """The row of the same initializer alone that shares the most of the other options."""
    name, *options = label.split(", ")
    rows = [other.split(", ") for other in others]
    fitting = [r for r in rows if r[0] == first(name) != name and set(r[1:]) <= set(options)]
    return ", ".join(sorted(fitting, key=len)[-1]) if fitting else None


def with_delta(table: Table) -> Table:
    """Add every cell's distance to the dense model, if the table has a row for it."""
    dense = {labels[:-1]: row for labels, row in zip(table.labels, table.cells, strict=True)
             if labels and labels[-1] == "dense"}  # fmt: skip
    cells = []
    for labels, row in zip(table.labels, table.cells, strict=True):
        level = dense.get(labels[:-1]) if labels[-1:] != ("dense",) else None
        cells.append([_distant(c, d) for c, d in zip(row, level or row, strict=True)]
                     if level else row)  # fmt: skip
    return replace(table, cells=cells)


def _distant(cell: Cell, dense: Cell) -> Cell:
    if cell.value is None or dense.value is None:
        return cell
    return replace(cell, delta=cell.value - dense.value)
