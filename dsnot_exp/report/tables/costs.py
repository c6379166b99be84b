"""What a run's composition costs, from the seconds of its phases and its peak memory."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

from dsnot_exp.report.runs import Run, number
from dsnot_exp.report.tables.table import Cell

ALLOCATE = "allocate"  # a phase, and the group of its options
APART = ("load", "calibrate", "keep", "evaluate", "total")  # no phases of a method


def mean(runs: Sequence[Run], measure: Callable[[Run], float | None]) -> Cell:
    """A cost: its spread over seeds says more of the machine than of the method."""
    found = [value for value in map(measure, runs) if value is not None]
    return Cell(statistics.fmean(found)) if found else Cell(words="not recorded")


def sparse_reused(run: Run) -> bool:
    """Whether the run took its sparse model from an earlier run. Then it has spent no time on it,
    and its memory says nothing about the method."""
    return _reuses(run, "sparse")


def reused_note(runs: Sequence[Run]) -> list[str]:
    count = sum(map(sparse_reused, runs))
    if not count:
        return []
    which, whose = (f"{count} runs", "their") if count > 1 else ("1 run", "its")
    return [
        f"{which} took the sparse model from an earlier run: {whose} time and memory are left out."
    ]


def forwards(run: Run) -> float | None:
    return None if sparse_reused(run) else number(run.result["timing_s"].get("calibrate"))


def with_allocation(runs: Sequence[Run]) -> Callable[[Run], float | None]:
    """`over`, and for a run that took its allocation from another one the seconds of that one.

    runs: of one model, calibration and sparsity
    """
    spent: dict[tuple[str, ...], float] = {}
    for run in runs:
        seconds = number(run.result["timing_s"].get(ALLOCATE))
        if seconds and not _reuses(run):
            spent.setdefault(_allocation(run), seconds)

    def seconds_of(run: Run) -> float | None:
        own = over(run)
        more = spent.get(_allocation(run), 0.0) if _reuses(run) else 0.0
        return None if own is None else own + more

    return seconds_of


def _reuses(run: Run, what: str = "allocation") -> bool:
    reused = run.result.get("reused_stages")
    return isinstance(reused, list) and what in reused


def _allocation(run: Run) -> tuple[str, ...]:
    """What an allocation depends on, where all else is the same."""
    own = [f"{k}={v}" for k, v in run.options.items() if k.split(".")[0] == ALLOCATE]
    return (str(run.options.get("seed")), *sorted(own))


def over(run: Run) -> float | None:
    """Seconds of every phase of the method itself, LoRA's training included."""
    times = run.result["timing_s"].items() if not sparse_reused(run) else ()
    known = [s for phase, v in times if phase not in APART and (s := number(v)) is not None]
    return sum(known) if known else None


def memory(run: Run) -> float | None:
    if sparse_reused(run):
        return None
    sizes = (number(run.result["memory"].get(f"peak_{kind}_bytes")) for kind in ("device", "rss"))
    return next((size / 2**30 for size in sizes if size), None)


def walked_twice(run: Run) -> bool:
    """Whether the run has measured the pruned stage itself: its seconds include that walk."""
    stages = run.result["metrics"]["perplexity"].values()
    refined = any(
        run.options.get(f"{group}.name") not in (None, "none")
        for group in ("refine", "reconstruct")
    )
    return refined and not _reuses(run, "pruned") and any("pruned" in values for values in stages)
