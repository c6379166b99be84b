"""What lies in a run's folder, and what it takes on disk."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder. Links are not followed; what vanishes meanwhile
    counts as nothing."""
    try:
        if path.is_symlink() or not path.is_dir():
            return path.lstat().st_size
    except OSError:
        return 0
    found = 0
    for place, _, files in os.walk(path):
        found += sum(size_of(Path(place, name)) for name in files)
    return found


def contents(folder: Path) -> dict[str, int]:
    """The files and folders of a run by name, with their bytes. Empty files are left out."""
    names = {f"{p.name}/" if p.is_dir() else p.name: size_of(p) for p in sorted(folder.iterdir())}
    return {name: size for name, size in names.items() if size}


def kept(folder: Path, result: dict[str, Any]) -> Path | None:
    """The folder of the sparse model that a run's result names; None if it is not there."""
    masks = result.get("masks")
    place = masks.get("folder") if isinstance(masks, dict) else None
    if not isinstance(place, str):
        return None
    found = (folder / Path(place).expanduser()).resolve()
    return found if found.is_dir() else None


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
