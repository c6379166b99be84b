"""Everything that a run's result says, as flat columns, and the short names by which to ask."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any

from dsnot_exp.report.composition import ASSUMED, methods
from dsnot_exp.report.runs import number
from dsnot_exp.results.file import flatten
from dsnot_exp.runs.find import Found, logged_options
from dsnot_exp.utils.errors import RequestError
from dsnot_exp.utils.wanted import did_you_mean

# What has an entry per layer or per block stays out: `show` prints it.
BY_LAYER = {
    "metrics": ("reconstruction", "max_cycles", "block_reconstruction"),
    "sparsity": ("layers", "targets"),
}
LEFT_OUT = ("schema", "status", "notes")
SHORT = {
    "time": "timing_s.total",
    "memory": "memory.peak_rss_bytes",
    "achieved": "sparsity.achieved",
    "hash": "config_hash",
    "masks": "masks_sha256",
}
PREFIXES = ("metrics.", "timing_s.", "memory.", "environment.", "data.")
ERRORS = ("relative_before", "relative_after", "expected_before", "expected_after")


def fields(found: Found) -> dict[str, Any]:
    """The columns of one run. `config.`, `metrics.` and so on are as in result.json; `model`,
    `method` and the means are ours. A run without a result has the options that its log states."""
    date = found.date
    row: dict[str, Any] = {
        "folder": str(found.folder),
        "name": found.name,
        "state": found.state,
        "error": found.why or None,
        "date": datetime.fromtimestamp(date).isoformat(" ", "seconds") if date else None,
    }
    if found.run is None:
        options = flatten(logged_options(found.folder), prefix="config")
        return row | _names_of(options) | options if len(options) > 1 else row
    result = found.run.result
    row |= {"model": found.run.model, "method": found.run.method}
    row |= {f"accuracy.{k}": v for k, v in accuracies(result).items()}
    row |= {f"layers.{key}": mean_of_layers(result, key) for key in ERRORS}
    tree = {key: value for key, value in result.items() if key not in LEFT_OUT}
    for part, names in BY_LAYER.items():
        tree[part] = {key: value for key, value in tree[part].items() if key not in names}
    options = {f"config.{key}": value for key, value in found.run.options.items()}
    row |= flatten(tree) | options
    return {key: _finite(value) for key, value in row.items() if value != {}}


def _finite(value: Any) -> Any:
    """A result that another program has written may hold NaN."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _names_of(options: dict[str, Any]) -> dict[str, Any]:
    plain = ASSUMED | {key.removeprefix("config."): value for key, value in options.items()}
    return {"model": plain.get("model.name"), "method": methods(plain) or "dense"}


def accuracies(result: dict[str, Any]) -> dict[str, Any]:
    """The mean accuracy over the tasks by stage, and the names of the tasks. A stage in which a
    task has no accuracy has no mean: it would be one over other tasks."""
    found = result["metrics"]["zero_shot"]
    tasks = sorted({*found, *result["failed"]})
    means: dict[str, Any] = {"tasks": tasks} if tasks else {}
    for stage in ("dense", "pruned", "refined"):
        values = [number((found.get(task, {}).get(stage) or {}).get("acc")) for task in tasks]
        known = [value for value in values if value is not None]
        if known and len(known) == len(tasks):
            means[stage] = sum(known) / len(known)
    return means


def mean_of_layers(result: dict[str, Any], key: str) -> float | None:
    """The mean of an error over the layers that have one."""
    values = [number(row.get(key)) for row in result["metrics"]["reconstruction"]]
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def known_keys(rows: Iterable[dict[str, Any]]) -> list[str]:
    """Every column that any of the runs has."""
    return sorted({key for row in rows for key in row})


def resolve(word: str, known: Collection[str], where: str) -> str:
    """The column that `word` means: its full name, a short one, a method's group, or a name
    without `config.`, `metrics.` and so on. `where`: the flag, for the message."""
    own = [SHORT.get(word, word), word, f"config.{word}", f"config.{word}.name"]
    for key in [*own, *(f"{prefix}{word}" for prefix in PREFIXES)]:
        if key in known:
            return key
    shown = {key.removeprefix("config.").removeprefix("metrics.") for key in known} | {*SHORT}
    hint = did_you_mean(word, sorted(shown)) or "; --json prints all of a run's fields"
    raise RequestError(f"{where}: no run has a field {word}{hint}")
