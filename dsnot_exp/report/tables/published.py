"""Values that others have published, and whether one can be shown beside a run of ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from dsnot_exp.report.runs import VARIANT, Run

FILE = Path(__file__).with_name("published.yaml")


@dataclass(frozen=True)
class Published:
    """`text`: the value as printed, such as 4.10 or 6.9e3. `source`: where."""

    text: str
    source: str
    note: str = ""

    @property
    def value(self) -> float:
        return float(self.text)


@dataclass(frozen=True)
class Where:
    """A cell of a table: what was measured, and on what. `options`: the run's, if there is one."""

    measure: str  # perplexity, seconds
    name: str  # data set, phase
    model: str
    method: str
    budget: str
    seqlen: int | None
    options: Mapping[str, Any] = field(default_factory=dict)

    def agrees(self, model: str, method: str, where: Mapping[str, str]) -> bool:
        own = {key: str(getattr(self, key)) for key in where}
        named = self.options.get("model.name", self.model)  # a local folder may have any name
        return (self.model, named, self.method, own) == (model, model, method, dict(where))


def place_of(measure: str, name: str, at: Mapping[str, Any], run: Run | None) -> Where | None:
    """Where a published value must come from to be shown in this cell.

    at: the cell's values on the axes and those of its table
    run: one of the cell's runs, if there is any
    """
    method = run.method if run and VARIANT in at else at.get("method") or at.get(VARIANT)
    method = method or (run.method if run else None)
    if method is None:
        return None
    options = run.options if run else {k: v for k, v in at.items() if "." in k}
    model, budget = str(at.get("model")), str(at.get("budget"))
    return Where(measure, name, model, str(method), budget, at.get("seqlen"), options)


@cache
def _file() -> dict[str, Any]:
    """The file with scalars as text: YAML would turn 4.10 into 4.1 and leave 6.9e3 as text."""
    loaded = yaml.load(FILE.read_text("utf-8"), Loader=yaml.BaseLoader)
    assert isinstance(loaded, dict)
    return loaded


def find(where: Where) -> tuple[Published | None, list[Published]]:
    """The value to show beside this cell, and those to list below the table."""
    beside, beneath = None, []
    if not _unusual(where):
        for entry in _file()["figures"]:
            figure = _figure(entry, where)
            if figure is None:
                continue
            if beside is None and "remark" not in entry:
                beside = figure
            else:
                beneath.append(figure)
    return beside, beneath


def _figure(entry: dict[str, Any], where: Where) -> Published | None:
    for method, values in entry["rows"].items():
        for model, text in zip(entry["models"], values, strict=True):
            if where.agrees(model, method, entry["where"]):
                return Published(text, entry["source"], entry.get("note", ""))
    return None


def _unusual(where: Where) -> list[str]:
    """The run's options that differ from those of all published tables, which are of whole
    texts."""
    if where.options.get("eval.blocks") is not None:
        return ["eval.blocks"]
    if where.method == "dense":
        return []
    usual = _file()["usual"]
    return [key for key in usual if key in where.options and _other(where.options[key], usual[key])]


def _other(value: Any, usual: str) -> bool:
    """Whether two values differ. 1 equals 1.0, and True equals "True"."""
    try:
        return float(value) != float(usual)
    except (TypeError, ValueError):
        return str(value) != usual
