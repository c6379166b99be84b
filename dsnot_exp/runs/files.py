"""What lies in a run's folder, and what it takes on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dsnot_exp.results.file import kept_folder
from dsnot_exp.utils.files import bytes_of


def contents(folder: Path) -> dict[str, int]:
    """The files and folders of a run by name, with their bytes. Empty files are left out."""
    names = {f"{p.name}/" if p.is_dir() else p.name: bytes_of(p) for p in sorted(folder.iterdir())}
    return {name: size for name, size in names.items() if size}


def kept(folder: Path, result: dict[str, Any]) -> Path | None:
    """The folder of the sparse model that a run's result names; None if it is not there."""
    found = kept_folder(folder, result)
    return found if found is not None and found.is_dir() else None


def newest(path: Path) -> float:
    """When a file, or anything in a folder, was last written: seconds since the epoch, 0 if it is
    not there."""
    times = [path, *(path.rglob("*") if path.is_dir() else [])]
    found = 0.0
    for one in times:
        try:
            found = max(found, one.lstat().st_mtime)
        except OSError:  # it has vanished
            continue
    return found
