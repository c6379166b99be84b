"""result.json and what lies beside it: the contract with everything that reads results.

Imports no torch: the report reads results with it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dsnot_exp.utils.files import write_atomically

SCHEMA = 1
NAME = "result.json"
MODEL = "model"
NOTE = "error.txt"  # in a run's folder, until it succeeds


def write_result(folder: Path, result: dict[str, Any]) -> Path:
    path = folder / NAME
    write_atomically(path, (json.dumps(result, indent=1, allow_nan=False) + "\n").encode())
    return path


def written(folder: Path) -> float | None:
    """When the result was written, if there is one."""
    path = folder / NAME
    return path.stat().st_mtime if path.exists() else None


def finished(folder: Path, config_hash: str) -> dict[str, Any] | None:
    """The result that `folder` already holds for this configuration, if it is whole."""
    try:
        result = json.loads((folder / NAME).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    expected = {"config_hash": config_hash, "schema": SCHEMA, "status": "finished"}
    whole = isinstance(result, dict) and all(result.get(k) == v for k, v in expected.items())
    return result if whole else None


def saved(folder: Path) -> bool:
    """Whether a run's folder holds a whole model: it gets its name when it is."""
    return (folder / MODEL).is_dir()


def whole(folder: Path, config_hash: str, with_model: bool) -> dict[str, Any] | None:
    """The finished result of this configuration, if all that was asked for lies beside it."""
    result = finished(folder, config_hash)
    return result if result is not None and (saved(folder) or not with_model) else None


def noted(folder: Path) -> str:
    """What went wrong in a run, where it could say so."""
    try:
        return (folder / NOTE).read_text("utf-8").strip()
    except OSError:
        return "it left no word: killed, or never started"


def flatten(tree: Any, separator: str = ".", prefix: str = "") -> dict[str, Any]:
    """{"calib": {"samples": 8}} -> {"calib.samples": 8}"""
    if not isinstance(tree, dict):
        return {prefix: tree}
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= flatten(value, separator, f"{prefix}{separator}{key}" if prefix else key)
    return flat
