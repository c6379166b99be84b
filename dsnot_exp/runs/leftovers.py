"""What failed, refused and stopped runs have left, and why each of it may go."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from dsnot_exp.launch.leftovers import SWEEP
from dsnot_exp.results.file import LOG, NAME, NOTE, STATE
from dsnot_exp.results.tracking.csv_file import NAME as PROGRESS
from dsnot_exp.run.in_use import is_taken
from dsnot_exp.run.lock import NAME as LOCK
from dsnot_exp.runs.busy import busy_folders
from dsnot_exp.runs.files import newest
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
from dsnot_exp.runs.items import STARTING, TRASH, Item, Plan

# As tempfile names what is written and then renamed: a file, a saved model, a kept sparse model, or
# an export, which has the start of the run's hash.
TEMPORARY = re.compile(
    r"\.(model|.+\.(json|safetensors|png|md|new)|.+\.[0-9a-f]{8})[.-][a-z0-9_]{8}"
)
OURS = re.compile(
    rf"dsnot_exp(\.rank\d+)?\.log|{re.escape(LOCK)}|{NOTE}|{STATE}|errors\.png|wandb|tensorboard"
    rf"|{PROGRESS}"
)
WRITING = 3600  # seconds: a temporary file as old as this is not being written


def leftovers(root: Path, unfinished: bool) -> Plan:
    """What may be deleted below `root`. unfinished: also what a run could be resumed from"""
    runs, plan = find(root), Plan()
    busy = busy_folders(root, runs)
    for run in runs:
        sort_out(run, plan, unfinished, busy)
    for place in _inner_folders(root, runs):
        _strays(place, plan, busy)
    return plan


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
    """Temporary files beside runs and in shared folders, and folders without a run."""
    names = {path.name for path in place.iterdir()}
    held = any(is_taken(path) for path in place.glob(".*lock"))
    if names and names <= {LOCK, SWEEP}:
        if not held and not is_taken(place) and time.time() - newest(place) > STARTING:
            plan.items.append(Item(place, f"holds {' and '.join(sorted(names))} alone"))
        return
    for path, why in temporary(place):
        if held or busy:
            plan.left.append((path, "temporary; runs are running"))
        else:
            plan.items.append(Item(path, why))
