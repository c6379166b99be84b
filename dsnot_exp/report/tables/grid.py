"""Compositions by sparsities, for models and texts or tasks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dsnot_exp.report.names import of_texts
from dsnot_exp.report.runs import Run
from dsnot_exp.report.tables.entries import Entry, Options, entries
from dsnot_exp.report.tables.grid_axes import Column, Row, columns_of, in_rows, ordered, rows_of
from dsnot_exp.report.tables.grid_cells import dense_cell, pooled
from dsnot_exp.report.tables.measures import MEAN
from dsnot_exp.report.tables.table import Cell, pool


@dataclass
class Grid:
    """cells: of pruned models; members: the runs of each cell; dense: by model and text or task
    keys: the names of texts and tasks in the results, by model and name
    measure: `perplexity` or `accuracy`
    facts: what all runs share, in words"""

    measure: str
    rows: list[Row]
    columns: list[Column]
    cells: dict[tuple[Row, Column], Cell]
    members: dict[tuple[Row, Column], list[Run]]
    dense: dict[tuple[str, str], Cell]
    keys: dict[tuple[str, str], str]
    facts: list[str]

    def cell(self, row: Row, column: Column) -> Cell:
        return self.cells.get((row, column), pool([], lambda run: None))


def grids(runs: Sequence[Run], measure: str = "perplexity") -> Iterator[Grid]:
    """One grid for each way of measuring: sequence length, options of `eval`. Runs in one cell
    differ in their seed only."""
    ways: dict[Options, list[Entry]] = {}
    for entry in entries(runs, measure):
        ways.setdefault(entry.measured, []).append(entry)
    for own in ways.values():
        yield _grid(own, runs, measure)


def _grid(entries: list[Entry], runs: Sequence[Run], measure: str) -> Grid:
    rows = rows_of(entries)
    members: dict[tuple[Row, Column], list[Run]] = {}
    source: dict[tuple[str, str], tuple[Run, str]] = {}
    for entry, row, (model, names) in zip(entries, rows, columns_of(entries), strict=True):
        for name, key in names.items():
            column = Column(model, name, entry.run.budget)
            members.setdefault((row, column), []).append(entry.run)
            source.setdefault((model, name), (entry.run, key))
    keys = {place: key for place, (_, key) in source.items()}
    tasks = {model: [key for (own, _), key in keys.items() if own == model and key != MEAN]
             for model, _ in keys}  # fmt: skip
    cells = {
        (row, c): pooled(own, measure, keys[c.model, c.name], tasks[c.model])
        for (row, c), own in members.items()
    }
    dense = {
        place: dense_cell(runs, run, measure, key, tasks[place[0]])
        for place, (run, key) in source.items()
    }
    columns = ordered(dict.fromkeys(column for _, column in members))
    ranked = in_rows(dict.fromkeys(rows))
    return Grid(measure, ranked, columns, cells, members, dense, keys, _facts(entries))


def _facts(entries: list[Entry]) -> list[str]:
    """What all runs share: the calibration, and the length of the sequences."""
    found = []
    options = [entry.run.options for entry in entries]
    data = {str(o.get("calib.dataset")) for o in options}
    sizes = {(o.get("calib.samples"), o.get("calib.seqlen")) for o in options}
    if len(data) == 1 and len(sizes) == 1 and None not in (size := next(iter(sizes))):
        (name,) = of_texts(list(data)).values()
        found.append(f"calibrated on {size[0]} sequences of {size[1]} tokens of {name}")
    length = dict(entries[0].measured).get("tokens", "None")
    if length != "None":
        found.append(entries[0].run.measured_on)
    return found
