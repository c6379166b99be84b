"""Which folders other processes work in."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from dsnot_exp.run.in_use import is_taken
from dsnot_exp.runs.find import RUNNING, Found


def busy_folders(root: Path, runs: Iterable[Found]) -> set[Path]:
    """Folders whose runs belong to a running sweep: it says so, or one of the runs is running."""
    running = {run.folder.parent for run in runs if run.state == RUNNING}
    parents = {run.folder.parent for run in runs}
    above = {path: [path, *(p for p in path.parents if p.is_relative_to(root))] for path in parents}
    taken = {path for paths in above.values() for path in paths if is_taken(path)}
    return running | {path for path, paths in above.items() if taken.intersection(paths)}
