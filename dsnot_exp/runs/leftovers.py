"""What failed, refused and stopped runs have left, and why each of it may go."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from dsnot_exp.results.file import LOG, NAME, NOTE, STATE
from dsnot_exp.run.in_use import is_taken
from dsnot_exp.run.lock import NAME as LOCK
from dsnot_exp.runs.files import newest, size_of
from dsnot_exp.runs.find import (
    FAILED,
    FINISHED,
    INCOMPLETE,
    REFUSED,
    RUNNING,
    UNFINISHED,
    WITHIN,
    Found,
    find,
)  # fmt: skip

TRASH = ".removed-"
TEMPORARY = re.compile(r"\..+[.-][a-z0-9_]{8}")  # as tempfile names what is renamed at the end
OURS = re.compile(rf"dsnot_exp(\.rank\d+)?\.log|{re.escape(LOCK)}|{NOTE}|{STATE}|wandb|errors\.png")
STARTING = 60  # seconds: a run that has only a log may not have come to its lock
WRITING = 3600  # seconds: a temporary file as old as this is not being written


@dataclass(frozen=True)
class Item:
    """path: what to delete; why; run: the run in whose folder it is, None if in a shared folder;
    lock: the file to lock meanwhile"""

    path: Path
    why: str
    run: Found | None = None
    shared_lock: Path | None = None

    @property
    def lock(self) -> Path | None:
        return self.run.folder / LOCK if self.run is not None else self.shared_lock

    @property
    def size(self) -> int:
        return size_of(self.path)


@dataclass
class Plan:
    """items: what to delete; left: what looks like it and stays, with the reason"""

    items: list[Item] = field(default_factory=list)
    left: list[tuple[Path, str]] = field(default_factory=list)


def leftovers(root: Path, unfinished: bool) -> Plan:
    """What may be deleted below `root`. unfinished: also what a run could be resumed from"""
    runs, plan = find(root), Plan()
    busy = busy_folders(root, runs)
    for run in runs:
        sort_out(run, plan, unfinished, busy)
    for place in _inner_folders(root, runs):
        _strays(place, plan, busy)
    return plan


def busy_folders(root: Path, runs: Iterable[Found]) -> set[Path]:
    """Folders whose runs belong to a running sweep: it says so, or one of the runs is running."""
    running = {run.folder.parent for run in runs if run.state == RUNNING}
    parents = {run.folder.parent for run in runs}
    above = {path: [path, *(p for p in path.parents if p.is_relative_to(root))] for path in parents}
    taken = {path for paths in above.values() for path in paths if is_taken(path)}
    return running | {path for path, paths in above.items() if taken.intersection(paths)}


def sort_out(run: Found, plan: Plan, unfinished: bool, busy: set[Path]) -> None:
    """What of one run's folder may go."""
    if run.state == RUNNING:
        plan.left.append((run.folder, "running"))
    elif run.state in (FAILED, REFUSED, UNFINISHED):
        _without_result(run, plan, unfinished, busy)
    else:
        _state_of_finished(run, plan, unfinished)
        plan.items += [Item(path, why, run) for path, why in temporary(run.folder)]


def _without_result(run: Found, plan: Plan, unfinished: bool, busy: set[Path]) -> None:
    foreign = sorted(p.name for p in run.folder.iterdir() if not _is_ours(p.name))
    told = f"{run.state}: {run.why}" if run.why else run.state
    last = max(newest(run.folder / LOG), newest(run.folder / NOTE))
    reason = ""
    if run.folder.parent in busy:
        reason = "its sweep is running"
    elif foreign:
        reason = f"holds {', '.join(foreign)}; delete it by hand"
    elif run.resumable and not unfinished:
        reason = "can be resumed by its command; --unfinished deletes it"
    elif run.state == UNFINISHED and not run.resumable and time.time() - last < STARTING:
        reason = "may be starting: its log is less than a minute old"
    if reason:
        plan.left.append((run.folder, f"{told}; {reason}"))
    else:
        plan.items.append(Item(run.folder, told, run))


def _is_ours(name: str) -> bool:
    return bool(OURS.fullmatch(name) or TEMPORARY.fullmatch(name))


def _state_of_finished(run: Found, plan: Plan, unfinished: bool) -> None:
    """State that is older than the result is of no use: the run was killed right after it wrote the
    result. Newer state is of a rerun."""
    state = run.folder / STATE
    if not run.resumable:
        return
    if run.state == FINISHED and newest(state) < newest(run.folder / NAME):
        plan.items.append(Item(state, "state of a run that has finished", run))
    elif unfinished:
        plan.items.append(Item(state, f"state of a run that is {_of(run)}", run))
    else:
        what = f"state of a run that is {_of(run)}"
        plan.left.append((state, f"{what}; --unfinished deletes it"))


def _of(run: Found) -> str:
    return run.state if run.state == INCOMPLETE else "being rerun"


def temporary(folder: Path) -> Iterator[tuple[Path, str]]:
    """Files and folders that a killed process was writing, and what an interrupted `clean` left."""
    for path in sorted(folder.glob(".*")):
        if path.name.startswith(TRASH):
            yield path, "removed by an earlier clean, which was interrupted"
        elif TEMPORARY.fullmatch(path.name) and time.time() - newest(path) > WRITING:
            yield path, "temporary, and not written to for an hour"


def _inner_folders(root: Path, runs: Iterable[Found]) -> Iterator[Path]:
    """`root` and the folders below that are no run's."""
    own = {run.folder for run in runs}
    for place, inside, _ in os.walk(root):
        path = Path(place)
        inside[:] = [name for name in inside if name[0] != "."]
        if path in own:
            inside[:] = [name for name in inside if name not in WITHIN]
        else:
            yield path


def _strays(place: Path, plan: Plan, busy: set[Path]) -> None:
    """Temporary files beside runs and in shared folders, and folders that hold a lock alone."""
    names = {path.name for path in place.iterdir()}
    held = any(is_taken(path) for path in place.glob(".*lock"))
    if names == {LOCK}:
        if not held and time.time() - newest(place / LOCK) > STARTING:
            plan.items.append(Item(place, "an empty folder with a lock that nobody holds"))
        return
    for path, why in temporary(place):
        if held or busy:
            plan.left.append((path, "temporary; runs are running"))
        else:
            plan.items.append(Item(path, why))
