"""result.json and the files beside it: the format that the report and other readers rely on.

Imports no torch, because the report imports this file.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dsnot_exp.utils.files import write_atomically

SCHEMA = 1
NAME = "result.json"
MODEL = "model"
STATE = "state"  # in the folder of an unfinished run: what is needed to resume it
LOG = "dsnot_exp.log"
NOTE = "error.txt"  # in the folder of a failed run; removed on success


def write_result(folder: Path, result: dict[str, Any]) -> Path:
    path = folder / NAME
    write_atomically(path, (json.dumps(result, indent=1, allow_nan=False) + "\n").encode())
    return path


def written_at(folder: Path) -> float | None:
    """The modification time of the result, in seconds since the epoch; None without a result."""
    path = folder / NAME
    return path.stat().st_mtime if path.exists() else None


def finished(folder: Path, config_hash: str) -> dict[str, Any] | None:
    """The finished result of this configuration in `folder`, if there is one."""
    try:
        result = json.loads((folder / NAME).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    expected = {"config_hash": config_hash, "schema": SCHEMA, "status": "finished"}
    matches = isinstance(result, dict) and all(result.get(k) == v for k, v in expected.items())
    return result if matches else None


def has_model(folder: Path) -> bool:
    """Whether a run's folder holds a complete model; saving renames the folder at the end."""
    return (folder / MODEL).is_dir()


def finished_with_model(folder: Path, config_hash: str, needs_model: bool) -> dict[str, Any] | None:
    """The finished result of this configuration; None if a model is needed and missing."""
    result = finished(folder, config_hash)
    return result if result is not None and (has_model(folder) or not needs_model) else None


def kept_folder(folder: Path, result: dict[str, Any]) -> Path | None:
    """Where the sparse model of a run is kept, as its result names it; None if it names none."""
    masks = result.get("masks")
    place = masks.get("folder") if isinstance(masks, dict) else None
    return (folder / Path(place).expanduser()).resolve() if isinstance(place, str) else None


def recorded_error(folder: Path) -> str:
    """The error message that a failed run wrote."""
    try:
        return (folder / NOTE).read_text("utf-8").strip()
    except OSError:
        return "no error recorded: the process was killed or never started"


def flatten(tree: Any, separator: str = ".", prefix: str = "") -> dict[str, Any]:
    """{"calib": {"samples": 8}} -> {"calib.samples": 8}"""
    if not isinstance(tree, dict):
        return {prefix: tree}
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= flatten(value, separator, f"{prefix}{separator}{key}" if prefix else key)
    return flat
