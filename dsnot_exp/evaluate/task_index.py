"""lm-eval's index of its own tasks: 14,000 YAML files, so the cache keeps it."""

from __future__ import annotations

import functools
import hashlib
import logging
import os
import pickle
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from dsnot_exp.utils.files import write_atomically
from dsnot_exp.utils.paths import cache

log = logging.getLogger(__name__)


@functools.cache
def builtin_tasks() -> Any:
    """A TaskManager of the tasks that lm-eval brings along."""
    from lm_eval import tasks  # slow import

    path = cache() / f"lm-eval-{_identity(Path(tasks.__file__).parent)}.pickle"
    try:
        return pickle.loads(path.read_bytes())
    except FileNotFoundError:
        pass
    except Exception as error:  # a damaged pickle raises anything
        log.warning("cannot read %s (%r); indexing lm-eval's tasks again", path, error)
    manager = tasks.TaskManager()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, pickle.dumps(manager))
    except OSError as error:
        log.warning("cannot write %s (%s); the next run indexes lm-eval's tasks again", path, error)
    return manager


def _identity(folder: Path) -> str:
    """Changes with lm-eval's version and with any of its tasks' files."""
    digest = hashlib.sha256(version("lm_eval").encode())
    for file, status in sorted(_yaml_files(folder)):
        digest.update(f"{file} {status}".encode())
    return digest.hexdigest()[:32]


def _yaml_files(folder: str | Path) -> Iterator[tuple[str, str]]:
    """(path, time and size) of each."""
    for entry in os.scandir(folder):
        if entry.is_dir():
            yield from _yaml_files(entry.path)
        elif entry.name.endswith(".yaml"):
            found = entry.stat()
            yield entry.path, f"{found.st_mtime_ns} {found.st_size}"
