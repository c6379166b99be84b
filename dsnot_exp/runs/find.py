"""Find the runs below a folder, and tell what has become of each."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dsnot_exp.report.runs import Run, run_of
from dsnot_exp.results.file import LOG, MODEL, NAME, NOTE, STATE, recorded_error
from dsnot_exp.results.read import read_result
from dsnot_exp.run.in_use import is_locked
from dsnot_exp.run.lock import NAME as LOCK

FINISHED, INCOMPLETE, RUNNING = "finished", "incomplete", "running"
FAILED, REFUSED, UNFINISHED, UNREADABLE = "failed", "refused", "unfinished", "unreadable"
WITHIN = {STATE, MODEL, "wandb", "tensorboard", "report"}  # folders in which no run is looked for
ATTEMPT = re.compile(r"^[\d-]+ [\d:,]+ \w+ [\w.]+: (command|the run failed): ", re.M)
CONFIGURATION = re.compile(r"^[\d-]+ [\d:,]+ INFO [\w.]+: configuration: (\{.*\})$", re.M)
RECORD = re.compile(r"^\d{4}-\d\d-\d\d [\d:,]+ [A-Z]+ ", re.M)
READ = 2**18  # bytes at the start and at the end of a log


@dataclass(frozen=True)
class Found:
    """The folder of one run.

    name: its path below the folder that was searched
    state: finished, incomplete, running, failed, refused, unfinished or unreadable
    run: its result; None if there is none, or if it cannot be read
    why: the error of a run that failed or was refused, or why its result cannot be read
    resumable: whether it has state, from which the same command resumes
    """

    folder: Path
    name: str
    state: str
    run: Run | None = None
    why: str = ""
    resumable: bool = False

    @property
    def date(self) -> float | None:
        """When the result was written, or whatever was written last: seconds since the epoch."""
        if self.run is not None:
            return _modified(self.run.path)
        times = [_modified(self.folder / name) for name in (LOG, NOTE)]
        return max((time for time in times if time is not None), default=None)


def find(root: Path) -> list[Found]:
    """All runs at or below `root`, by their folders' names."""
    return [look(folder, root) for folder in folders(root)]


def folders(root: Path) -> Iterator[Path]:
    """The folders at or below `root` in which a run has left a result, an error, a log or state."""
    for place, inside, files in os.walk(root):
        if NAME in files or NOTE in files or LOG in files or _is_state(Path(place, STATE)):
            yield Path(place)
        inside[:] = sorted(name for name in inside if name not in WITHIN and name[0] != ".")


def _is_state(folder: Path) -> bool:
    """A sweep's folder may be called state, too: its folders are runs."""
    return (folder / "account.json").is_file()


def look(folder: Path, root: Path, ours: bool = False) -> Found:
    """One run's folder, as it is now. ours: this process holds its lock"""
    name = folder.relative_to(root).as_posix()
    found = Found(folder, folder.absolute().name if name == "." else name, UNFINISHED)
    found = replace(found, resumable=(folder / STATE).is_dir())
    if (folder / NAME).exists():
        found = _with_result(found)
    elif (folder / NOTE).exists():
        refused = {path.name for path in folder.iterdir()} <= {NOTE, LOCK}
        found = replace(found, state=REFUSED if refused else FAILED, why=recorded_error(folder))
    elif why := _logged_error(folder / LOG):
        found = replace(found, state=FAILED, why=why)
    return replace(found, state=RUNNING) if not ours and is_locked(folder) else found


def _with_result(found: Found) -> Found:
    path = found.folder / NAME
    try:
        run = run_of(path, read_result(path))
    except ValueError as error:
        return replace(found, state=UNREADABLE, why=str(error))
    if not run.incomplete:
        return replace(found, state=FINISHED, run=run)
    failed = [f"{task}: {why}" for task, why in run.result["failed"].items()]
    return replace(found, state=INCOMPLETE, run=run, why="; ".join(failed))


def logged_options(folder: Path) -> dict[str, Any]:
    """The configuration that a run without a result has written to its log, as a tree; empty if it
    was refused before."""
    found = CONFIGURATION.search(_ends(folder / LOG))
    try:
        options = ast.literal_eval(found[1]) if found else {}
    except (ValueError, SyntaxError, RecursionError):
        options = {}
    return options if isinstance(options, dict) else {}


def _logged_error(log: Path) -> str:
    """The error with which the last attempt in a log has ended; empty if it was interrupted, or is
    still running. A sweep leaves error.txt, a single run does not."""
    text = _ends(log)
    attempts = [*ATTEMPT.finditer(text)]
    if not attempts or attempts[-1][1] == "command":
        return ""
    rest = text[attempts[-1].end() :]
    after = RECORD.search(rest)
    lines = (rest[: after.start()] if after else rest).strip().splitlines()
    kind, _, message = lines[-1].partition(": ") if lines else ("", "", "")
    if kind == "KeyboardInterrupt":
        return ""
    return message if kind.startswith("dsnot_exp.") else lines[-1] if lines else ""


def _ends(log: Path) -> str:
    """The start and the end of a log file, whose middle may be long."""
    try:
        with log.open("rb") as file:
            start = file.read(READ)
            rest = file.seek(0, os.SEEK_END) - len(start)
            file.seek(-min(rest, READ), os.SEEK_END)
            return (start + file.read()).decode("utf-8", "replace")
    except OSError:
        return ""


def _modified(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except OSError:
        return None
