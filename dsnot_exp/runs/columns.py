"""The columns of the list of runs: which there are, their titles, and how a value is printed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from dsnot_exp.report.runs import budget, in_order
from dsnot_exp.results.method_names import pretty
from dsnot_exp.results.stages import already_sparse
from dsnot_exp.runs.fields import known_keys
from dsnot_exp.runs.find import Found
from dsnot_exp.utils.wanted import shown
from dsnot_exp.utils.words import amount, duration, moment, percent, perplexity

STAGES = ("dense", "pruned", "refined")
Row = dict[str, Any]


@dataclass(frozen=True)
class Column:
    """title: its lines; text: a run's cell, empty if it has no value; key: the field that it shows,
    if it is a field; figures: whether its cells are set to the right"""

    title: tuple[str, ...]
    text: Callable[[Found, Row], str]
    key: str = ""
    figures: bool = True


def usual(rows: Sequence[Row]) -> list[Column]:
    """Name, model, methods, sparsity, perplexities, mean accuracy, state, time and date."""
    return [
        Column(("run",), lambda found, _: found.name, "name", figures=False),
        Column(("model",), _field("model"), "model", figures=False),
        Column(("method",), _field("method"), "method", figures=False),
        Column(("sparsity",), _budget, "config.sparsity"),
        *_perplexities(rows),
        *_accuracies(rows),
        Column(("state",), _field("state"), "state", figures=False),
        Column(("time",), _time, "timing_s.total"),
        Column(("date",), lambda found, _: moment(found.date), "date"),
    ]


def asked(keys: Sequence[str]) -> list[Column]:
    """The columns of these fields, after that of the runs' names."""
    titles = [key.removeprefix("config.").removeprefix("metrics.") for key in keys]
    made = [Column((t,), _field(k), k) for t, k in zip(titles, keys, strict=True) if k != "name"]
    return [Column(("run",), lambda found, _: found.name, "name", figures=False), *made]


def _field(key: str) -> Callable[[Found, Row], str]:
    def text(found: Found, row: Row) -> str:
        value = row.get(key)
        if value is None:
            return "null" if key.startswith("config.") and key in row else ""
        if key == "date":
            return moment(found.date)
        if key == "method":
            return pretty(value)
        if isinstance(value, float):
            return amount(value)
        return ", ".join(map(shown, value)) if isinstance(value, list) else shown(value)

    return text


def _budget(found: Found, row: Row) -> str:
    if row.get("method") in (None, "dense"):
        return ""
    text = budget(row.get("config.sparsity"), row.get("config.pattern"))
    return "by file" if text == "?" and row.get("config.allocate.name") == "file" else text


def _time(found: Found, row: Row) -> str:
    seconds = row.get("timing_s.total")
    return "" if seconds is None else duration(seconds)


def _perplexities(rows: Sequence[Row]) -> list[Column]:
    """A column per text and stage that any run has measured."""
    start = "metrics.perplexity."
    keys = {key for key in known_keys(rows) if key.startswith(start)}
    texts = in_order([key.removeprefix(start).rpartition(".")[0] for key in keys])
    return [
        Column((short_name(text), stage), _perplexity(text, stage), key)
        for text in texts
        for stage in STAGES
        if (key := f"{start}{text}.{stage}") in keys
    ]


def short_name(text: str) -> str:
    """A data set's name; of a file, the last part of its path."""
    return text.rstrip("/").rpartition("/")[2] or text


def _perplexity(name: str, stage: str) -> Callable[[Found, Row], str]:
    def text(found: Found, _: Row) -> str:
        value = found.run.metric("perplexity", name, stage) if found.run is not None else None
        return "" if value is None else perplexity(value)

    return text


def _accuracies(rows: Sequence[Row]) -> list[Column]:
    """The mean accuracy of the dense and of the refined model. Means over other tasks are another
    column."""
    key, lists = "accuracy.tasks", list[list[str]]()
    for row in rows:
        if (tasks := row.get(key)) and tasks not in lists:
            lists.append(tasks)
    return [
        Column((_called(tasks, len(lists) > 1), stage), _accuracy(tasks, stage))
        for tasks in lists
        for stage in ("dense", "refined")
    ]


def _called(tasks: list[str], several: bool) -> str:
    if len(tasks) == 1 or several:
        return "+".join(tasks)
    return f"{len(tasks)} tasks"


def _accuracy(tasks: list[str], stage: str) -> Callable[[Found, Row], str]:
    def text(found: Found, row: Row) -> str:
        value = row.get(f"accuracy.{stage}") if row.get("accuracy.tasks") == tasks else None
        if value is None or found.run is None:
            return ""
        hidden = stage == "dense" and already_sparse(found.run.result)
        return "" if hidden else percent(value)

    return text
