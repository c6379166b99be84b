"""Files that are written whole or not at all, and those that only their own run believes."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from dsnot_exp.utils.errors import RunError


def write_atomically(path: Path, data: bytes) -> None:
    """Whoever reads `path` sees all of `data`, or what was there before."""
    with replaced(path) as file:
        file.write(data)


def write_told(path: Path, identity: str, told: Any) -> None:
    """As JSON, for `read_told` with the same identity."""
    write_atomically(path, json.dumps({"identity": identity, "told": told}).encode())


def read_told(path: Path, identity: str) -> Any:
    """What `write_told` was given, or None: no file, damaged, or told with another identity."""
    try:
        content = json.loads(path.read_text("utf-8"))
        return content["told"] if content["identity"] == identity else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


@contextmanager
def replaced(path: Path) -> Iterator[IO[bytes]]:
    """A file to write, which takes the place of `path` when it is whole: temporary file, fsync,
    rename, fsync of the folder."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Else a power cut may forget the new name. Not every file system can."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def writing_state(folder: Path) -> Iterator[None]:
    """A full or a read-only disk is said with its place and the remedy."""
    try:
        yield
    except OSError as error:
        raise RunError(
            f"{error.filename or folder}: the state of the run cannot be written "
            f"({error.strerror or error}); what was written is kept: make room or choose another "
            "out=, and the same command goes on there; resume=never does without"
        ) from error
