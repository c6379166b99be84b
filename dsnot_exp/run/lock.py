"""One process at a time in a run's folder. The system frees the lock of a process that dies."""

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
def owned(folder: Path, wait: bool) -> Iterator[bool]:
    """Whether the folder is this process's alone; with `wait`, it is so sooner or later."""
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
        say(f"another process is at work in {folder}: waiting for it (Ctrl-C leaves)")
        lock.acquire(timeout=-1)
    except (NotImplementedError, OSError) as error:  # a file system without locks
        log.warning("%s cannot be locked (%s): make sure that no other run uses it", folder, error)
    return True
