"""What a cell can show: perplexity, accuracy or seconds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dsnot_exp.report.runs import Run, number
from dsnot_exp.report.tables.costs import sparse_reused
from dsnot_exp.report.tables.table import Measured

MEAN = "mean"
PHASES = ("calibrate", "prune", "refine")
RARE = ("reconstruct", "allocate")  # shown if a run has spent time in them


@dataclass(frozen=True)
class Measure:
    of: Callable[[Run, str, str], Measured | None]
    unit: str
    lower: bool = True  # lower is better


def _perplexity(run: Run, name: str, stage: str) -> Measured | None:
    value = run.metric("perplexity", name, stage)
    return None if value is None else Measured(value)


def _accuracy(run: Run, name: str, stage: str) -> Measured | None:
    """In percent. `acc`, never acc_norm, as in the papers."""
    value = run.metric("zero_shot", name, stage, "acc")
    error = run.metric("zero_shot", name, stage, "acc_stderr")
    return None if value is None else Measured(100 * value, None if error is None else 100 * error)


def _seconds(run: Run, name: str, stage: str) -> Measured | None:
    value = number(run.result["timing_s"].get(name))
    return None if value is None or sparse_reused(run) else Measured(value)


MEASURES = {
    "perplexity": Measure(_perplexity, "perplexity, lower is better"),
    "accuracy": Measure(_accuracy, "accuracy in % ± standard error, higher is better", lower=False),
    "seconds": Measure(_seconds, "seconds"),
}


def names_of(kind: str, option: str, runs: Sequence[Run]) -> list[str]:
    """Data sets or tasks: first those requested, in their order, then any others found."""
    found: dict[str, None] = {}
    for run in runs:
        asked = run.options.get(option)
        known = run.result["metrics"][kind]
        listed = map(str, asked if isinstance(asked, list) else [])
        complete = [name for name in listed if name in known or run.incomplete]
        found |= dict.fromkeys([*complete, *known])
    return list(found)


def of_table(measure: str, runs: Sequence[Run]) -> list[list[str]]:
    """The subcolumns of each table. Every data set has its own table."""
    if measure == "perplexity":
        return [[name] for name in names_of("perplexity", "eval.perplexity", runs)] or [["none"]]
    if measure == "accuracy":
        tasks = names_of("zero_shot", "eval.tasks", runs)
        return [[*tasks, MEAN]] if tasks else [["none"]]
    later = [phase for phase in ("finetune",) if any(phase in r.result["timing_s"] for r in runs)]
    times = [run.result["timing_s"] for run in runs]
    rare = [phase for phase in RARE if any(number(time.get(phase)) for time in times)]
    return [[*PHASES, *rare, *later]]
