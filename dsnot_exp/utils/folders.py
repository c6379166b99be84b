"""Folders that are written under another name, and renamed when they are complete: a reader finds a
whole folder, or what was there before.

`place` is written as `.<name>.<mark>XXXXXXXX`. What it replaces is `.<name>.<mark>old` between two
renames. One process at a time writes a place.
"""

from __future__ import annotations

import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def written_aside(place: Path, mark: str = "") -> Iterator[Path]:
    """A temporary folder that takes the place of `place` when the block ends without an error."""
    temporary = begin_aside(place, mark)
    try:
        yield temporary
        take_place(temporary, place, mark)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def begin_aside(place: Path, mark: str = "") -> Path:
    """A new temporary folder for `place`. What killed processes have left is removed before."""
    place.parent.mkdir(parents=True, exist_ok=True)
    recover(place, mark)
    return Path(tempfile.mkdtemp(dir=place.parent, prefix=_prefix(place, mark)))


def take_place(temporary: Path, place: Path, mark: str = "") -> None:
    """Rename a complete folder; an older one is removed once the new one is in its place."""
    temporary.chmod(0o755)  # mkdtemp denies access to other users
    old = _old(place, mark)
    if place.exists():
        shutil.rmtree(old, ignore_errors=True)
        os.rename(place, old)
    os.rename(temporary, place)
    shutil.rmtree(old, ignore_errors=True)


def put_back(place: Path, mark: str = "") -> None:
    """Bring back the folder whose replacement was interrupted between the two renames."""
    old = _old(place, mark)
    if old.is_dir() and not place.exists():
        os.rename(old, place)


def recover(place: Path, mark: str = "") -> None:
    """The same, and delete what killed processes have left beside `place`."""
    put_back(place, mark)
    for left in place.parent.glob(f"{glob.escape(_prefix(place, mark))}*"):
        shutil.rmtree(left, ignore_errors=True)


def _prefix(place: Path, mark: str) -> str:
    return f".{place.name}.{mark}"


def _old(place: Path, mark: str) -> Path:
    return place.parent / f"{_prefix(place, mark)}old"
