"""Tables of compositions by sparsities, from grids."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

from dsnot_exp.methods.notation import N_OF_M
from dsnot_exp.report.runs import Run
from dsnot_exp.report.tables.grid import Grid, grids
from dsnot_exp.report.tables.grid_axes import Column, Row
from dsnot_exp.report.tables.labels import say
from dsnot_exp.report.tables.marks import against, with_best
from dsnot_exp.report.tables.measures import MEAN, MEASURES
from dsnot_exp.report.tables.published import Published, Where, find
from dsnot_exp.report.tables.table import Table, with_marks

WIDEST = 10  # columns; wider tables are split by model, then by text or task
PARTS = ("name", "model", "budget")  # of a column
TITLES = {"perplexity": "Perplexity", "accuracy": "Zero-shot accuracy"}


def tables(runs: Sequence[Run]) -> Iterator[Table]:
    """Perplexity, then accuracy, of every composition at every sparsity. Nothing if there is one
    composition at one sparsity only."""
    for measure in MEASURES:
        for grid in grids(runs, measure) if measure in TITLES else ():
            if len(grid.cells) > 1 and len({(row, c.budget) for row, c in grid.cells}) > 1:
                for columns in _split(grid):
                    yield _table(grid, columns)


def _split(grid: Grid) -> Iterator[list[Column]]:
    """The columns of each table: of tasks, first their mean at every sparsity."""
    columns = grid.columns
    if grid.measure == "accuracy":
        means = [column for column in columns if column.name == MEAN]
        if len(means) > 1:
            yield means
        for model in dict.fromkeys(column.model for column in columns):
            own = [column for column in columns if column.model == model]
            yield from _narrow(sorted(own, key=lambda c: _place(own, c)), "budget")
    elif columns:
        yield from _narrow(columns, "model", "name")


def _place(columns: list[Column], column: Column) -> tuple[int, int]:
    """Tasks stand beside each other, sparsity by sparsity."""
    budgets = list(dict.fromkeys(c.budget for c in columns))
    return budgets.index(column.budget), columns.index(column)


def _narrow(columns: list[Column], *by: str) -> Iterator[list[Column]]:
    if len(columns) <= WIDEST or not by:
        yield columns
        return
    for value in dict.fromkeys(getattr(column, by[0]) for column in columns):
        yield from _narrow([c for c in columns if getattr(c, by[0]) == value], *by[1:])


def _table(grid: Grid, columns: list[Column]) -> Table:
    rows = [row for row in grid.rows if any((row, column) in grid.cells for column in columns)]
    lower = MEASURES[grid.measure].lower
    differ = {part: len({getattr(c, part) for c in columns}) > 1 for part in PARTS}
    inner = "name" if grid.measure == "accuracy" and differ["name"] else "budget"
    outer = [p for p in ("model", "name", "budget") if differ[p] and p != inner]
    above = [", ".join(getattr(column, part) for part in outer) for column in columns]
    names = [getattr(column, inner) for column in columns]
    if not differ[inner] and outer:
        names, above = above, []
    find_ = partial(_published, grid)
    cells = [[grid.dense[c.model, c.name] for c in columns]]
    cells += [[replace(grid.cell(r, c), published=find_(r, c)) for c in columns] for r in rows]
    cells = with_best(cells, [None, *("all" for _ in rows)], lower)
    title, named = _title(grid, columns)
    single = dict.fromkeys(getattr(columns[0], part) for part in PARTS if not differ[part])
    said = [_budget(word) for word in single if word not in named]
    small = all(column.model == "tinyworld" for column in columns)
    table = Table(
        "",
        title,
        "; ".join([*said, *grid.facts, MEASURES[grid.measure].unit]),
        ("method",),
        [("dense",), *((row.name,) for row in rows)],
        names,
        cells,
        3 if small and grid.measure == "perplexity" else 2,
        higher=not lower,
        above=above if any(above) else [],
    )
    return against(with_marks(table))


def _budget(word: str) -> str:
    return say("budget", word) if "%" in word or N_OF_M.fullmatch(word) else word


def _title(grid: Grid, columns: Sequence[Column]) -> tuple[str, set[str]]:
    """The title, and what it names of the columns."""
    names, models, budgets = ({getattr(c, part) for c in columns} for part in PARTS)
    if grid.measure == "perplexity":
        (name,) = names if len(names) == 1 else ("",)
        return TITLES["perplexity"] + (f" on {name}" if name else ""), {name}
    title = TITLES["accuracy"] + (", mean over tasks" if names == {MEAN} else "")
    named = {MEAN}
    for word, found in ((" of ", models), (" at ", budgets)):
        if len(found) == 1:
            title += word + next(iter(found))
            named |= found
    return title, named


def _published(grid: Grid, row: Row, column: Column) -> Published | None:
    runs = grid.members.get((row, column), [])
    if not runs:
        return None
    run, name = runs[0], grid.keys[column.model, column.name]
    where = Where(grid.measure, name, run.model, run.method, run.budget, run.seqlen, run.options)
    return find(where)[0]
