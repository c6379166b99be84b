"""Locks a run's folder for one process. The system releases the lock of a process that dies."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from dsnot_exp.utils.console import say

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

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


def is_locked(folder: Path) -> bool:
    """Whether another process holds the lock of `folder`. Creates no lock file."""
    return (folder / NAME).is_file() and _is_taken(folder / NAME)


@contextmanager
def using_folder(folder: Path) -> Iterator[None]:
    """Mark `folder` as in use, for `in_use`, until the end of the block or of the process. Several
    processes may use it at once: each shares a lock on the folder itself."""
    handle = None
    try:
        if fcntl is not None:
            handle = os.open(folder, os.O_RDONLY)
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:  # a file system without locks
        log.warning("cannot mark %s as in use (%s)", folder, error)
    try:
        yield
    finally:
        if handle is not None:
            os.close(handle)


def in_use(folder: Path) -> bool:
    """Whether a process uses `folder`, as a sweep uses the folder of its runs."""
    return _is_taken(folder)


def _is_taken(path: Path) -> bool:
    """Whether a process holds a lock on `path`. Taking it for a moment is the only way to ask."""
    if fcntl is None:
        return False
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(handle)
    return False
