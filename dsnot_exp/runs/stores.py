"""What runs with the same `out` share and nothing needs any more."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from dsnot_exp.runs.busy import busy_folders
from dsnot_exp.runs.files import kept
from dsnot_exp.runs.find import Found, find
from dsnot_exp.runs.items import Item, Plan

SPARSE = "sparse"  # the folder of the sparse models, below `out`
MEASURED = re.compile(r"[0-9a-f]{32}\.json")  # one measurement or allocation


def unused_stores(root: Path, plan: Plan) -> None:
    """Add to `plan` the sparse models that no result below `root` refers to, and measurements that
    another version of the code has made, which no run will use again."""
    runs = find(root)
    found = [*_sparse_models(root, runs), *_old_measurements(root)]
    if found and busy_folders(root, runs):
        plan.left += [(item.path, f"{item.why}; runs are running") for item in found]
    else:
        plan.items += found


def _sparse_models(root: Path, runs: list[Found]) -> list[Item]:
    used = {kept(run.folder, run.run.result) for run in runs if run.run is not None}
    places = [path for path in (root / SPARSE).glob("[!.]*") if (path / "sparse.json").is_file()]
    why = "a sparse model that no result refers to"
    return [
        Item(path, why, shared_lock=path.parent / f".{path.name}.lock")
        for path in sorted(places)
        if path.resolve() not in used
    ]


def _old_measurements(root: Path) -> list[Item]:
    files = [path for path in sorted(root.glob("*/*.json")) if MEASURED.fullmatch(path.name)]
    if not files:
        return []
    from dsnot_exp.run.content import code_fingerprint  # slow: torch

    code, why = code_fingerprint(), "measured by another version of dsnot_exp or its libraries"
    return [Item(path, why) for path in files if _code_of(path) not in (None, code)]


def _code_of(path: Path) -> Any:
    """The version that made a stored measurement; None if it is no such file."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    key = content.get("key") if isinstance(content, dict) else None
    return key.get("code") if isinstance(key, dict) else None
