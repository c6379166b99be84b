"""Tells whether another process works in a folder, and marks it for others. No file is left.

A sweep marks the folder of its runs: between two of them it holds no lock of a run.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dsnot_exp.run.lock import NAME

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

log = logging.getLogger(__name__)


def is_locked(folder: Path) -> bool:
    """Whether another process holds the lock of a run's folder. Creates no lock file."""
    return (folder / NAME).is_file() and is_taken(folder / NAME)


@contextmanager
def using_folder(folder: Path) -> Iterator[None]:
    """Mark `folder` as in use until the end of the block or of the process. Several processes may
    use it at once: each has a share of a lock on the folder itself."""
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


def is_taken(path: Path) -> bool:
    """Whether a process has a lock, or a share of one, on a file or a folder. Asking takes the lock
    for a moment: there is no other way."""
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
