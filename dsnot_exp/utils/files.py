"""Writes files atomically, and JSON that only the run that wrote it accepts; what files take."""

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
    """Replace the content of `path`: a reader sees all of `data`, or the old content."""
    with replaced(path) as file:
        file.write(data)


def bytes_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder. Links are not followed; what vanishes meanwhile
    counts as nothing."""
    try:
        if path.is_symlink() or not path.is_dir():
            return path.lstat().st_size
    except OSError:
        return 0
    found = 0
    for place, _, files in os.walk(path):
        found += sum(bytes_of(Path(place, name)) for name in files)
    return found


def write_sealed(path: Path, identity: str, content: Any) -> None:
    """Write `content` as JSON, for `read_sealed` with the same identity."""
    write_atomically(path, json.dumps({"identity": identity, "content": content}).encode())


def read_sealed(path: Path, identity: str) -> Any:
    """The content that `write_sealed` wrote; None if the file is missing, damaged, or has another
    identity."""
    try:
        sealed = json.loads(path.read_text("utf-8"))
        return sealed["content"] if sealed["identity"] == identity else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


@contextmanager
def replaced(path: Path) -> Iterator[IO[bytes]]:
    """Open a temporary file that replaces `path` when the block ends without an error: fsync,
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
        with suppress(FileNotFoundError):  # interrupted right after it was renamed
            os.unlink(temporary)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut; some file systems do not support it."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def writing_state(folder: Path) -> Iterator[None]:
    """Turn an OSError (full or read-only disk) into a RunError with the path and the remedy."""
    try:
        yield
    except OSError as error:
        raise RunError(
            f"{error.filename or folder}: cannot write the run's state "
            f"({error.strerror or error}). Finished blocks are kept: free some space, or set "
            "another out=, and run the same command to resume; resume=never runs without state"
        ) from error
