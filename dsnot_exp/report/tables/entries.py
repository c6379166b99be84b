"""Runs on their way into a grid: what each was measured on, and what it shares with others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from dsnot_exp.report.composition import methods
from dsnot_exp.report.runs import Run
from dsnot_exp.report.tables.comparison import Setting, by_setting, recipe_of
from dsnot_exp.report.tables.measures import names_of

Options = tuple[tuple[str, str], ...]
MEASURED = ("eval", "tokens", "text")  # parts of a setting that say how it was measured


@dataclass(frozen=True)
class Entry:
    """A run, and a text on which it was measured.

    text: empty for accuracy
    content: the hash of the text's tokens; empty if not recorded
    model: all options of the model
    recipe: all options of the composition; rest: those that are in neither
    measured: how it was measured, but for the text
    """

    run: Run
    text: str
    content: str
    model: Options
    recipe: Options
    rest: Options
    measured: Options

    @property
    def methods(self) -> str:
        return methods(self.run.options) or self.run.method


def entries(runs: Sequence[Run], measure: str) -> Iterator[Entry]:
    """Of the pruned runs; each once for every text. measure: `perplexity` or `accuracy`"""
    pruned = [run for run in runs if run.method != "dense"]
    if measure == "accuracy":
        tasks = names_of("zero_shot", "eval.tasks", runs)
        known = [run for run in pruned if _asked(run, "zero_shot", "eval.tasks", tasks)]
        yield from _of_text(known, "")
        return
    for text in names_of("perplexity", "eval.perplexity", runs):
        known = [run for run in pruned if _asked(run, "perplexity", "eval.perplexity", [text])]
        yield from _of_text(known, text)


def _asked(run: Run, kind: str, option: str, names: Iterable[str]) -> bool:
    """Whether the run has measured any of these, or failed to."""
    asked = run.options.get(option)
    missing = asked if isinstance(asked, list) and run.incomplete else []
    return any(name in run.result["metrics"][kind] or name in missing for name in names)


def _of_text(runs: Sequence[Run], text: str) -> Iterator[Entry]:
    for setting, members in by_setting(runs, text).items():
        for run in members:
            yield _entry(run, setting, text)


def _entry(run: Run, setting: Setting, text: str) -> Entry:
    parts: dict[str, list[tuple[str, str]]] = {"model": [], "measured": [], "rest": []}
    for key, value in setting.shared:
        group = key.split(".")[0]
        place = "model" if group == "model" else "measured" if group in MEASURED else "rest"
        if key not in ("sparsity", "pattern", "text"):  # columns of their own
            parts[place].append((key, value))
    if not text:  # a task has its own sequences
        parts["measured"] = [pair for pair in parts["measured"] if pair[0] != "tokens"]
    model, rest, measured = (tuple(parts[name]) for name in ("model", "rest", "measured"))
    content = dict(setting.shared).get("text", "")
    return Entry(run, text, content, model, recipe_of(run), rest, measured)
