"""Locks a run's folder for one process. The system releases the lock of a process that dies."""

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
    """Lock `folder` for this process. Yields False if another process holds the lock and `wait` is
    false."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / NAME)
    try:
        yield _acquire(lock, folder, wait)
    finally:
        lock.release()


def _acquire(lock: FileLock, folder: Path, wait: bool) -> bool:
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if not wait:
            return False
        say(f"another process is running {folder}: waiting for it (Ctrl-C to stop)")
        lock.acquire(timeout=-1)
    except (NotImplementedError, OSError) as error:  # a file system without locks
        log.warning("cannot lock %s (%s): make sure that no other process uses it", folder, error)
    return True
