"""Locks a folder, or a file's name, for one process. The system releases the lock of a process that
dies."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from dsnot_exp.utils.console import say

NAME = ".lock"
log = logging.getLogger(__name__)


@contextmanager
def lock_folder(folder: Path, wait: bool) -> Iterator[bool]:
    """Lock a run's folder for this process. Yields False if another process holds the lock and
    `wait` is false."""
    busy = f"another process is running {folder}: waiting for it (Ctrl-C to stop)"
    with lock_file(folder / NAME, wait, busy) as locked:
        yield locked


@contextmanager
def lock_file(path: Path, wait: bool, busy: str) -> Iterator[bool]:
    """The same for the lock file `path`. busy: what to say while another process holds it"""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        yield _acquire(lock, path, wait, busy)
    finally:
        lock.release()


def _acquire(lock: FileLock, path: Path, wait: bool, busy: str) -> bool:
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if not wait:
            return False
        say(busy)
        lock.acquire(timeout=-1)
    except (NotImplementedError, OSError) as error:  # a file system without locks
        log.warning("cannot lock %s (%s): make sure that no other process uses it", path, error)
    return True
