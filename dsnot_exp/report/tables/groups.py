"""Which runs of a sweep can share a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from typing import Any

from dsnot_exp.config import WITHOUT_EFFECT
from dsnot_exp.report.composition import TARGET
from dsnot_exp.report.runs import VARIANT, Run
from dsnot_exp.report.tables.layouts import Layout
from dsnot_exp.results.method_names import GROUPS

# Options that may differ within a cell: they affect what is measured, not its value.
FREE = {
    "seed", "relative_error", "eval.name", "eval.perplexity", "eval.tasks", "eval.baselines",
    "eval.batch_size", "eval.streaming", "eval.seqlen", "calib.batch_size", "model.perplexity",
    "model.tasks", "model.max_cycles",
}  # fmt: skip
ONLY_ACCURACY = {"eval.limit", "eval.num_fewshot"}
ONLY_PERPLEXITY = {"eval.blocks"}
ABSENT = "absent"  # the value of an option that a run's methods do not have; null is a value
UNKNOWN = "not recorded"  # of an option that they have in another version
Key = tuple[Any, ...]
Owner = tuple[str, str]


def apart(layout: Layout, runs: Sequence[Run]) -> Iterator[tuple[dict[str, Any], list[Run]]]:
    """Group runs by everything that a cell must not mix. A run that lacks an option (a magnitude
    mask has no refine.max_cycles) belongs to every group."""
    keys = [axis for axis in ("model", "budget") if axis not in layout.axes]
    keys += ["seqlen"] if layout.measure == "perplexity" else []
    free = FREE | (ONLY_PERPLEXITY if layout.measure == "accuracy" else ONLY_ACCURACY)
    keys += [key for key in _hidden(layout.axes) if len({str(run.axis(key)) for run in runs}) > 1]
    places = [axis for axis in layout.axes if axis != "seed"]  # a row of means pools the seeds
    keys += clashing(runs, [*places, *keys], free)
    had = {_owner(run, key) for key in keys for run in runs if key in run.options}
    found = [tuple(_value(run, key, had) for key in keys) for run in runs]
    whole = [f for f in found if not any(_fits(f, g) and f != g for g in found)]
    for chosen in sorted(set(map(_hashable, whole)), key=str):
        shared = next(f for f in whole if _hashable(f) == chosen)
        fixed = {k: v for k, v in zip(keys, shared, strict=True) if v is not ABSENT}
        yield fixed, [run for run, f in zip(runs, found, strict=True) if _fits(f, shared)]


def _hidden(axes: Sequence[str]) -> list[str]:
    """The parts of a composition that no axis names."""
    names = ["allocate.name", "reconstruct.name"] if "method" not in axes else []
    return [] if VARIANT in axes else [*names, *TARGET]


def fits(run: Run, fixed: dict[str, Any]) -> bool:
    """Whether a run has these values, but for the options that it lacks."""
    return _fits(tuple(_value(run, key) for key in fixed), tuple(fixed.values()))


def _value(run: Run, key: str, had: Set[Owner] = frozenset()) -> Any:
    """had: the options of methods, each with the method, that some run has"""
    value = run.axis(key)
    if value is not None or key in run.options:
        return value
    return UNKNOWN if key.split(".")[0] in GROUPS and _owner(run, key) in had else ABSENT


def _owner(run: Run, key: str) -> Owner:
    """An option of a method, and the method's name."""
    return key, str(run.options.get(f"{key.split('.')[0]}.name"))


def _fits(part: Key, whole: Key) -> bool:
    return all(p is ABSENT or p == w for p, w in zip(part, whole, strict=True))


def _hashable(key: Key) -> tuple[str, ...]:
    return tuple(map(str, key))


def clashing(
    runs: Sequence[Run], axes: Sequence[str], free: Set[str] = FREE | ONLY_ACCURACY
) -> list[str]:
    """The options that differ between runs with the same values on the axes."""
    cells: dict[tuple[str, ...], Run] = {}
    found: dict[str, None] = {}
    for run in runs:
        place = _hashable(tuple(run.axis(axis) for axis in axes))
        first = cells.setdefault(place, run)
        for key in {**first.options, **run.options}:
            settled = key in free or key in axes or key.split(".")[0] in WITHOUT_EFFECT
            if not settled and str(first.options.get(key)) != str(run.options.get(key)):
                found[key] = None
    return list(found)


def comparable(runs: Sequence[Run]) -> list[list[Run]]:
    """Group runs that share a text at one sequence length, or a task, directly or by a chain."""
    groups: list[tuple[set[tuple[str, Any]], list[Run]]] = []
    for run in runs:
        metrics = run.result["metrics"]
        measured = {(name, run.seqlen) for name in metrics["perplexity"]}
        measured |= {(name, None) for name in metrics["zero_shot"]}
        measured = measured or {("", None)}
        near = [group for group in groups if group[0] & measured]
        together = [other for group in near for other in group[1]]
        names = measured.union(*(group[0] for group in near))
        groups = [group for group in groups if group not in near] + [(names, [*together, run])]
    return [members for _, members in groups]
