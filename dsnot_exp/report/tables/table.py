"""A table of cells: our value, the published value and the difference, or why there is none."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from dsnot_exp.report.runs import Run
from dsnot_exp.report.tables.published import Published

NOT_RUN, FAILED, NOT_MEASURED = "not run", "failed", "not measured"


@dataclass(frozen=True)
class Measured:
    value: float
    error: float | None = None  # standard error


@dataclass(frozen=True)
class Cell:
    """One cell of a table.

    words: shown if there is no value
    spread: standard deviation over `n` seeds; for a single run its standard error, if known
    better: better than the initializer alone
    mark: letter of the published value's source, if there are several sources
    change: relative to the initializer alone, if the table shows it: -0.1 is 10 % less
    """

    value: float | None = None
    words: str = ""
    spread: float | None = None
    n: int = 1
    published: Published | None = None
    better: bool = False
    best: bool = False
    mark: str = ""
    change: float | None = None

    @property
    def difference(self) -> float | None:
        if self.value is None or self.published is None:
            return None
        return self.value - self.published.value


@dataclass(frozen=True)
class Table:
    """A table in no particular format.

    digits: decimals, or None for four significant figures
    joined: the page shows the labels of a row in one column
    higher: higher is better
    sources: mark and published value; listed below the table in every format
    """

    name: str  # the sweep
    title: str
    caption: str
    heads: tuple[str, ...]
    labels: list[tuple[str, ...]]
    columns: list[str]
    cells: list[list[Cell]]
    digits: int | None = None
    joined: bool = True
    higher: bool = False
    notes: list[str] = field(default_factory=list)
    sources: list[tuple[str, Published]] = field(default_factory=list)


def pool(runs: Sequence[Run], measure: Callable[[Run], Measured | None]) -> Cell:
    """One cell from runs that differ only in their seed. For each seed, the first run counts."""
    if not runs:
        return Cell(words=NOT_RUN)
    found: dict[str, Measured] = {}
    for run in runs:
        measured = measure(run)
        if measured is not None:
            found.setdefault(str(run.options.get("seed")), measured)
    if not found:
        return Cell(words=FAILED if any(run.incomplete for run in runs) else NOT_MEASURED)
    values = [measured.value for measured in found.values()]
    if len(values) == 1:
        return Cell(values[0], spread=next(iter(found.values())).error)
    return Cell(statistics.fmean(values), spread=statistics.stdev(values), n=len(values))


def average(values: Iterable[Measured | None]) -> Measured | None:
    """Mean over tasks, with independent errors; None if a task is missing."""
    found = list(values)
    whole = [v for v in found if v is not None]
    if not whole or len(whole) < len(found):
        return None
    errors = [v.error for v in whole if v.error is not None]
    error = math.hypot(*errors) / len(whole) if len(errors) == len(whole) else None
    return Measured(statistics.fmean(v.value for v in whole), error)


def with_best(cells: list[list[Cell]], contest: Sequence[object], lower: bool) -> list[list[Cell]]:
    """Mark the best cell of every column among the rows of a contest. None: no contest."""
    chosen: dict[tuple[object, int], float] = {}
    entries: dict[tuple[object, int], int] = {}
    for row, name in zip(cells, contest, strict=True):
        for place, cell in enumerate(row):
            if name is not None and cell.value is not None:
                known = chosen.get((name, place), cell.value)
                chosen[name, place] = min(known, cell.value) if lower else max(known, cell.value)
                entries[name, place] = entries.get((name, place), 0) + 1

    def wins(cell: Cell, name: object, place: int) -> bool:
        rivals = entries.get((name, place), 0) > 1
        return rivals and cell.value == chosen[name, place]

    return [
        [replace(c, best=name is not None and wins(c, name, i)) for i, c in enumerate(row)]
        for row, name in zip(cells, contest, strict=True)
    ]


def with_marks(table: Table) -> Table:
    """Add the sources of the published values, with letters if there are several."""
    sources: dict[str, Published] = {}
    for row in table.cells:
        for cell in row:
            if cell.published is not None:
                known = sources.get(cell.published.source)
                if known is None or not known.note:
                    sources[cell.published.source] = cell.published
    letters = {s: chr(ord("a") + i) if len(sources) > 1 else "" for i, s in enumerate(sources)}
    cells = [
        [replace(c, mark=letters[c.published.source]) if c.published else c for c in row]
        for row in table.cells
    ]
    return replace(table, cells=cells, sources=[(letters[s], f) for s, f in sources.items()])
