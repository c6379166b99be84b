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
    better, worse: than the baseline: the initializer alone, or a row that the user names
    versus: ours minus the baseline's value
    delta: ours minus the dense model's value, if asked for
    best, second: of the column
    mark: letter of the published value's source, if there are several sources
    change: relative to the initializer alone, if the table shows it: -0.1 is 10 % less
    """

    value: float | None = None
    words: str = ""
    spread: float | None = None
    n: int = 1
    published: Published | None = None
    better: bool = False
    worse: bool = False
    versus: float | None = None
    delta: float | None = None
    best: bool = False
    second: bool = False
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
    above: the heading above each column, such as the model; one of its columns beside the other
        share it. Empty: no such headings
    baseline: what `better` and `worse` compare with, in words; empty: the initializer alone
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
    above: list[str] = field(default_factory=list)
    baseline: str = ""
    notes: list[str] = field(default_factory=list)
    sources: list[tuple[str, Published]] = field(default_factory=list)

    @property
    def full_names(self) -> list[str]:
        """The columns with their headings: each has a name of its own."""
        if not self.above:
            return self.columns
        return [" · ".join(filter(None, p)) for p in zip(self.above, self.columns, strict=True)]

    @property
    def seeds(self) -> int | None:
        """The number of seeds, if every mean of the table is over so many."""
        found = {c.n for row in self.cells for c in row if c.spread is not None}
        return found.pop() if len(found) == 1 and found != {1} else None


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
