"""A refused run leaves nothing behind. A run has begun once its options, its model and its data are
accepted; whatever it writes from then on stays, and so does whatever was in the folder before."""

from __future__ import annotations

import logging
import re
from contextlib import suppress
from pathlib import Path

from dsnot_exp.results.file import NOTE

OURS = re.compile(rf"dsnot_exp(\.rank\d+)?\.log|\.lock|{re.escape(NOTE)}")
SWEEP = "multirun.yaml"  # Hydra writes it before the first job
_created: list[Path] = []  # the topmost folder that this command created
_sweep: list[Path] = []  # the folder of its sweep


def expect_nothing() -> None:
    _created.clear()
    _sweep.clear()


def expect(folder: Path) -> None:
    """Call before `folder` is created: remember which of its parents do not exist yet."""
    expect_nothing()
    path = folder.absolute()
    while not path.exists() and path != path.parent:
        _created[:] = [path]
        path = path.parent


def is_new(folder: Path) -> bool:
    """Whether only the log of this very run is there, still empty."""
    files = [path for path in folder.iterdir() if path.name != ".lock"]
    return all(OURS.fullmatch(path.name) and path.stat().st_size == 0 for path in files)


def remove_run(folder: Path, keep_note: bool = False) -> None:
    """Remove a refused run's log, lock and error, and the folders that are then empty.

    keep_note: leave error.txt, which the summary of a sweep reads
    """
    _close_logs(folder)
    with suppress(OSError):
        for path in folder.iterdir():
            if OURS.fullmatch(path.name) and not (keep_note and path.name == NOTE):
                path.unlink(missing_ok=True)
        folder.rmdir()
        _remove_empty(folder.parent)


def only_note(folder: Path) -> bool:
    """Whether this is the folder of a refused job, in which only its error is left."""
    found = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    return NOTE in found and found <= {NOTE, ".lock"}


def expect_sweep(folder: Path) -> None:
    expect(folder)
    _sweep[:] = [folder]


def remove_sweep() -> None:
    """Remove the folder of the sweep if none of its jobs has left anything."""
    for folder in _sweep:
        if folder.is_dir() and {path.name for path in folder.iterdir()} <= {SWEEP}:
            (folder / SWEEP).unlink(missing_ok=True)
            _remove_empty(folder)


def _remove_empty(folder: Path) -> None:
    """Remove `folder` and its parents as far as they are empty and this command created them."""
    path = folder.absolute()
    with suppress(OSError):
        while _created and path.is_relative_to(_created[0]):
            path.rmdir()
            path = path.parent


def _close_logs(folder: Path) -> None:
    root = logging.getLogger()
    for handler in [one for one in root.handlers if isinstance(one, logging.FileHandler)]:
        if Path(handler.baseFilename).parent == folder.absolute():
            handler.close()
            root.removeHandler(handler)
