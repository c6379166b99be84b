"""The tables of a folder: those of its sweeps' layouts, else one of compositions by sparsities."""

from __future__ import annotations

from dataclasses import dataclass, field

from dsnot_exp.report.runs import Run
from dsnot_exp.report.tables import any_folder, grid_tables, marks, study
from dsnot_exp.report.tables.costs import reused_note
from dsnot_exp.report.tables.layouts import Layout, further, named, sort_out
from dsnot_exp.report.tables.members import members
from dsnot_exp.report.tables.rank_table import rank_table
from dsnot_exp.report.tables.ranking import Ranking, beyond, rankings
from dsnot_exp.report.tables.table import Table
from dsnot_exp.utils.errors import RequestError


@dataclass
class Content:
    """What a report shows.

    notes: on runs that do not share one table
    ranked: the rankings that are tables
    pictured: the runs of the main table, if the sweep's other tables vary one option each
    """

    tables: list[Table] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    ranked: list[Ranking] = field(default_factory=list)
    pictured: list[Run] = field(default_factory=list)


def build(
    runs: list[Run], folder: str, baseline: str | None = None, delta: bool = False
) -> Content:
    """Raises RequestError if no table has a row of the baseline's name.

    baseline: the composition against which cells are marked; None: each row's initializer alone
    delta: show each cell's distance to the dense model
    """
    groups, found = sort_out(runs, folder), Content()
    for name in sorted(groups, key=str):
        _add(found, name, groups[name])
    sweeps = sorted({str(run.options.get("sweep")) for run in runs})
    if len(sweeps) > 1:
        each = " Each layout has its own table." if len(groups) > 1 else ""
        found.notes.insert(0, f"Results of several sweeps: {', '.join(sweeps)}.{each}")
    found.notes += reused_note(runs)
    found.tables.sort(key=lambda table: not table.joined)  # the tables of all runs come last
    if len(groups) == 1:
        layout = named(next(iter(groups)))
        found.pictured = members(layout, runs) if layout is not None and layout.varied else []
    if baseline is not None:
        _check(baseline, found.tables)
        found.tables = [marks.against(table, baseline) for table in found.tables]
    if delta:
        found.tables = [marks.with_delta(table) for table in found.tables]
    return found


def _add(found: Content, name: str | None, runs: list[Run]) -> None:
    """The tables of the runs of one layout; None: of runs without a layout."""
    layout = named(name)
    split = _laid_out(str(name), layout, runs)
    own = [] if any(split) else list(grid_tables.tables(runs))
    last = [] if any(split) else list(any_folder.tables(runs, means=not own))
    most = max(len(made) for made in [*split, [t for t in last if t.title != any_folder.SEEDS]])
    if most > 1:
        whose = f" of {name}" if layout else ""
        found.notes.append(f"The runs{whose} do not fit in one table; they are split into {most}.")
    ranked = list(rankings(runs)) if layout is None or any(map(beyond, runs)) else []
    found.tables += [*own, *(table for made in split for table in made)]
    found.tables += [rank_table(name or "", ranking) for ranking in ranked]
    found.tables += last
    found.ranked += ranked


def _laid_out(name: str, layout: Layout | None, runs: list[Run]) -> list[list[Table]]:
    layouts = [layout, *further(name)] if layout else []
    return [list(study.tables(name, one, runs)) for one in layouts]


def _check(baseline: str, tables: list[Table]) -> None:
    if all(marks.against(table, baseline) is table for table in tables):
        rows = list(dict.fromkeys(name for table in tables for name in marks.names(table)))
        known = ", ".join(rows) if rows else "none; its tables have no compositions as rows"
        raise RequestError(f"--baseline {baseline}: no table has this row; choose from: {known}")
