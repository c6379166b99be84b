"""Report on a folder of runs, such as `python -m dsnot_exp.report outputs/table1`.

The report is written to the folder's report/ as Markdown, LaTeX, CSV and one HTML page, with plots.
A sweep of the paper has the paper's table with the published values beside ours. Any other folder
gets a table of compositions by sparsities, and one row per run.

Exit codes: 0: success; 1: a result file could not be read (the others are reported), or the report
could not be written; 2: no results found, or no row of the baseline's name."""

from __future__ import annotations

import argparse
import sys
from difflib import SequenceMatcher
from pathlib import Path
from typing import NoReturn

from dsnot_exp.report.build import build
from dsnot_exp.report.output.write import write
from dsnot_exp.report.runs import load
from dsnot_exp.results.file import NAME
from dsnot_exp.utils.command_line import run_and_exit

MOST_NAMED = 6
BASELINE = (
    "mark what is better and worse than this row, such as wanda (default: each row's initializer)"
)


def main() -> NoReturn:
    parser = argparse.ArgumentParser(prog="python -m dsnot_exp.report", description=__doc__)
    parser.add_argument("folder", type=Path, help="a sweep's folder, or any folder of runs")
    parser.add_argument("--baseline", metavar="NAME", help=BASELINE)
    parser.add_argument("--delta", action="store_true", help="show the difference from dense")
    run_and_exit(lambda: report(parser.parse_args()))


def report(arguments: argparse.Namespace) -> int:
    """Print and write the report; returns the exit code."""
    given = arguments.folder
    folder = given.parent if given.name == NAME and given.is_file() else given
    runs, broken = load(folder) if folder.is_dir() else ([], [])
    for line in broken:
        print(line, file=sys.stderr)
    if not runs:
        print(f"dsnot_exp: {folder}: {_nothing(folder, broken)}", file=sys.stderr)
        return 1 if broken else 2
    name = folder.resolve().name
    try:
        content = build(runs, name, arguments.baseline, arguments.delta)
        text, files = write(folder / "report", name, runs, content, broken)
    except OSError as error:
        reason = f"{error.filename}: cannot be written ({error.strerror})"
        print(f"dsnot_exp: {reason}", file=sys.stderr)
        return 1
    print(text)
    print(f"\n{folder / 'report'}: {', '.join(files)}")
    return 1 if broken else 0


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
    held = [p for p in sorted(parent.iterdir()) if p.is_dir() and _holds_results(p)]
    held.sort(key=lambda p: -SequenceMatcher(None, p.name, wanted).ratio())
    return ", ".join(map(str, held[:MOST_NAMED])) + (", ..." if len(held) > MOST_NAMED else "")


def _holds_results(folder: Path) -> bool:
    """Whether it is a run, a sweep, or a folder of sweeps. Deeper folders are not searched: after a
    wrong path they may be the whole disk."""
    try:
        return any(next(folder.glob(f"{above}{NAME}"), None) for above in ("", "*/", "*/*/"))
    except OSError:  # it may not be read, or it vanishes
        return False


if __name__ == "__main__":
    main()
