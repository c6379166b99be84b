"""Read a result file of this or an older version, and complete what it lacks. Imports no torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dsnot_exp.results.file import SCHEMA

MAPPINGS = ("model", "sparsity", "timing_s", "memory", "environment", "failed", "notes")


def read_result(path: Path) -> dict[str, Any]:
    """The content of a result.json, with every mapping that its readers need. Raises a ValueError
    with the reason, in one line, if the file cannot be read or is no result."""
    try:
        return _checked(json.loads(path.read_text("utf-8")))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    except (OSError, ValueError) as error:
        raise ValueError(" ".join(str(error).split())) from error


def _checked(result: Any) -> dict[str, Any]:
    """The result with every mapping that the report reads. Raises ValueError if malformed."""
    if not isinstance(result, dict) or not isinstance(result.get("schema"), int):
        raise ValueError("not a result: it has no schema")
    if result["schema"] > SCHEMA:
        raise ValueError(f"schema {result['schema']} is newer than the supported schema {SCHEMA}")
    metrics = {"perplexity": {}, "zero_shot": {}, "reconstruction": []} | _mapping(
        result, "metrics", required=True
    )
    for kind in ("perplexity", "zero_shot"):
        if any(not isinstance(v, dict) for v in _mapping(metrics, kind).values()):
            raise ValueError(f"metrics.{kind} is not a mapping of mappings")
    rows = metrics["reconstruction"]
    if not isinstance(rows, list) or any(not isinstance(row, dict) for row in rows):
        raise ValueError("metrics.reconstruction is not a list of mappings")
    parts = {name: _mapping(result, name) for name in MAPPINGS}
    config = _mapping(result, "config", required=True)
    return {**result, **parts, "config": config, "metrics": metrics}


def _mapping(tree: dict[str, Any], key: str, required: bool = False) -> dict[str, Any]:
    value = tree.get(key)
    if value is None and not required:
        return {}
    if not isinstance(value, dict):
        raise ValueError(f"{key} is {'missing' if value is None else 'not a mapping'}")
    return value
