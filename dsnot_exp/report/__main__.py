"""Report on a folder of runs, such as `python -m dsnot_exp.report outputs/table1`.

The report is written to the folder's report/ as Markdown, LaTeX, CSV and one HTML page, with plots.
A sweep's table shows published values beside ours. Any other folder gets one row per run.

Exit codes: 0: success; 1: a result file could not be read (the others are reported), or the report
could not be written; 2: no results found."""

from __future__ import annotations

import argparse
import sys
from difflib import SequenceMatcher
from pathlib import Path

from dsnot_exp.report.output.write import write
from dsnot_exp.report.runs import Run, load
from dsnot_exp.report.tables import any_folder, study
from dsnot_exp.report.tables.layouts import further, named, sort_out
from dsnot_exp.report.tables.members import members
from dsnot_exp.report.tables.rank_table import rank_table
from dsnot_exp.report.tables.ranking import Ranking, beyond, rankings
from dsnot_exp.report.tables.table import Table
from dsnot_exp.results.file import NAME

MOST_NAMED = 6


def build(runs: list[Run], folder: str) -> tuple[list[Table], list[str], list[Ranking]]:
    """The tables, notes on runs that do not share one table, and the rankings that are tables."""
    groups, tables, notes = sort_out(runs, folder), list[Table](), list[str]()
    ranked: list[Ranking] = []
    for name in sorted(groups, key=str):
        layout, chosen = named(name), groups[name]
        layouts = [layout, *further(name)] if layout else []
        split = [list(study.tables(str(name), one, chosen)) for one in layouts]
        if not any(split):
            split = [list(any_folder.tables(chosen))]
        most = max(len([t for t in made if t.title != any_folder.SEEDS]) for made in split)
        if most > 1:
            whose = f" of {name}" if layout else ""
            notes.append(f"The runs{whose} do not fit in one table; they are split into {most}.")
        own = list(rankings(chosen)) if layout is None or any(map(beyond, chosen)) else []
        tables += [table for made in split for table in made]
        tables += [rank_table(name or "", ranking) for ranking in own]
        ranked += own
    sweeps = sorted({str(run.options.get("sweep")) for run in runs})
    if len(sweeps) > 1:
        each = " Each layout has its own table." if len(groups) > 1 else ""
        notes.insert(0, f"Results of several sweeps: {', '.join(sweeps)}.{each}")
    return tables, notes, ranked


def pictured(runs: list[Run], folder: str) -> list[Run]:
    """The runs of the main table, if the folder's sweep has tables that vary one option each."""
    groups = sort_out(runs, folder)
    layout = named(next(iter(groups))) if len(groups) == 1 else None
    return members(layout, runs) if layout is not None and layout.varied else []


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m dsnot_exp.report", description=__doc__)
    parser.add_argument("folder", type=Path, help="a sweep's folder, or any folder of runs")
    given = parser.parse_args().folder
    folder = given.parent if given.name == NAME and given.is_file() else given
    runs, broken = load(folder) if folder.is_dir() else ([], [])
    for line in broken:
        print(line, file=sys.stderr)
    if not runs:
        print(f"dsnot_exp: {folder}: {_nothing(folder, broken)}", file=sys.stderr)
        sys.exit(1 if broken else 2)
    tables, notes, ranked = build(runs, folder.resolve().name)
    try:
        name, shown = folder.resolve().name, pictured(runs, folder.resolve().name)
        text, files = write(folder / "report", name, runs, tables, notes, broken, shown, ranked)
    except OSError as error:
        reason = f"{error.filename}: cannot be written ({error.strerror})"
        print(f"dsnot_exp: {reason}", file=sys.stderr)
        sys.exit(1)
    print(text)
    print(f"\n{folder / 'report'}: {', '.join(files)}")
    sys.exit(1 if broken else 0)


def _nothing(folder: Path, broken: list[str]) -> str:
    """What the folder contains instead, and nearby folders that contain results."""
    if broken:
        return "none of its result files can be read; rerun those runs"
    if folder.is_dir():
        there = sorted(f"{p.name}/" if p.is_dir() else p.name for p in folder.iterdir())
        more = ", ..." if len(there) > MOST_NAMED else ""
        held = f"holds {', '.join(there[:MOST_NAMED])}{more}" if there else "is empty"
        what = f"{held}, but no {NAME}"
    else:
        what = "is a file" if folder.exists() else "no such folder"
    near = _near(folder.parent if folder.parent.is_dir() else Path("outputs"), folder.name)
    return f"{what}; " + (f"there are results in {near}" if near else "give a folder of runs")


def _near(parent: Path, wanted: str) -> str:
    if not parent.is_dir():
        return ""
    held = [p for p in sorted(parent.iterdir()) if p.is_dir() and next(p.rglob(NAME), None)]
    held.sort(key=lambda p: -SequenceMatcher(None, p.name, wanted).ratio())
    return ", ".join(map(str, held[:MOST_NAMED])) + (", ..." if len(held) > MOST_NAMED else "")


if __name__ == "__main__":
    main()
