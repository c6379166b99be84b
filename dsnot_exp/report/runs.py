"""Load result files as runs. Files that cannot be read are listed; nothing is guessed."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dsnot_exp.report.composition import ASSUMED, composition, first
from dsnot_exp.report.names import of_path
from dsnot_exp.results.file import NAME, flatten
from dsnot_exp.results.read import read_result
from dsnot_exp.results.stages import already_sparse, method_name

VARIANT = "method and cycles"  # an axis


@dataclass(frozen=True)
class Run:
    """One result.json. `options`: its configuration with dotted names."""

    path: Path
    result: dict[str, Any] = field(repr=False)
    options: dict[str, Any] = field(repr=False)

    @property
    def model(self) -> str:
        """The model's name; for `local` and `hub`, the part of the path that names it."""
        name, path = self.options.get("model.name"), self.options.get("model.path")
        return of_path(str(path)) if name in ("local", "hub", None) and path else str(name)

    @property
    def method(self) -> str:
        return method_name(self.result)

    @property
    def variant(self) -> str:
        """The method, its cycles and its target, such as `wanda+dsnot, 50 cycles` or
        `alps+fisher, target 0.5/0.25`."""
        return composition(self.options) or self.method

    @property
    def budget(self) -> str:
        return budget(self.options.get("sparsity"), self.options.get("pattern"))

    @property
    def seqlen(self) -> int | None:
        asked = number(self.options.get("eval.seqlen")) or number(self.options.get("calib.seqlen"))
        return int(asked) if asked else None

    @property
    def measured_on(self) -> str:
        """The sequences of the perplexities: their tokens, and how many where there are more."""
        words = f"{self.seqlen} tokens per sequence" if self.seqlen else ""
        blocks = number(self.options.get("eval.blocks"))
        return words + (f", the first {blocks} sequences of each text" if blocks else "")

    @property
    def incomplete(self) -> bool:
        return self.result.get("status", "finished") != "finished"

    def axis(self, name: str) -> Any:
        """The run's value on an axis of a table: a property, or any option by its name."""
        if name == "initializer":
            return first(self.method)
        if name == VARIANT:
            return self.variant
        if name in ("model", "method", "budget", "seqlen"):
            return getattr(self, name)
        return self.options.get(name)

    def metric(self, kind: str, name: str, stage: str, key: str | None = None) -> float | None:
        """A number from `metrics`, or None if this run does not have it. A model that was sparse
        before the run has no dense value."""
        if stage == "dense" and already_sparse(self.result):
            return None
        found = self.result["metrics"][kind].get(name, {}).get(stage)
        return number(found.get(key) if key and isinstance(found, dict) else found)


def budget(sparsity: Any, pattern: Any) -> str:
    """`60 %` or `2:4`."""
    if pattern not in (None, "unstructured"):
        return str(pattern)
    return f"{100 * sparsity:g} %" if number(sparsity) is not None else "?"


def number(value: Any) -> float | None:
    """A finite number, or None. Bools, strings and NaN do not count as numbers."""
    known = isinstance(value, int | float) and not isinstance(value, bool)
    return value if known and math.isfinite(value) else None


def load(folder: Path) -> tuple[list[Run], list[str]]:
    """All valid results at or below `folder`, and a line for each file that cannot be read."""
    runs, broken = [], []
    for path in sorted(folder.rglob(NAME)):
        try:
            runs.append(run_of(path, read_result(path)))
        except ValueError as error:
            broken.append(f"{path}: skipped ({error})")
    return runs, broken


def run_of(path: Path, result: dict[str, Any]) -> Run:
    """A run by its result file and what `read_result` read from it."""
    options = ASSUMED | flatten(result["config"])
    return Run(path, result, options | _rules(options, result))


def _rules(options: dict[str, Any], result: dict[str, Any]) -> dict[str, Any]:
    """What a file of rules says, as an option: a path may hold other rules tomorrow."""
    if options["allocate.name"] != "file":
        return {}
    text = json.dumps(result["sparsity"].get("targets"), sort_keys=True)
    return {"allocate.rules": hashlib.sha256(text.encode()).hexdigest()[:8]}


def in_order(values: Sequence[Any], first: Sequence[Any] = ()) -> list[Any]:
    """`first` unchanged, then the other values: None, numbers, names (llama-7b < llama-13b)."""

    def key(value: Any) -> tuple[int, float, list[tuple[bool, float, str]]]:
        figure = number(value)
        if value is None or figure is not None:
            return (0 if value is None else 1, figure or 0.0, [])
        words = re.split(r"(\d+(?:\.\d+)?)", str(value))
        return (2, 0.0, [(i % 2 == 0, float(w) if i % 2 else 0.0, w) for i, w in enumerate(words)])

    found = {str(value): value for value in values if value not in first}
    return [*first, *sorted(found.values(), key=key)]
