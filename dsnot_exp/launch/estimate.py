"""How long the runs of a sweep will take, from those that are finished.

Each part of a run is taken from finished runs of the same model: a walk from those with the same
methods, an evaluation from those with the same options of `eval`. Nothing is said of a run with a
part that no finished run had.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from statistics import mean

from dsnot_exp.launch.costs import Finished, Parts, finished_run, parts_of
from dsnot_exp.launch.jobs import Job
from dsnot_exp.utils.words import roughly


def time_left(left: Sequence[Job], jobs: Sequence[Job]) -> str | None:
    """`about 20 min left, from 3 finished runs`: the runs of `left` that are not finished, one
    after the other. None if nothing is known of any of them. jobs: all jobs of the sweep"""
    known = [found for found in map(finished_run, jobs) if found is not None]
    waiting = [parts_of(job) for job in left if job.config is not None and not job.done]
    seconds = estimates(waiting, known)
    told = [one for one in seconds if one is not None]
    if not told:
        return None
    some = "" if len(told) == len(seconds) else f" for {len(told)} of {len(seconds)} runs"
    runs = f"{len(known)} finished run{'s' if len(known) != 1 else ''}"
    return f"about {roughly(sum(told))} left{some}, from {runs}"


def estimates(waiting: Sequence[Parts], known: Sequence[Finished]) -> list[float | None]:
    """Seconds of each run in `waiting`, in this order; None where a part is unknown. What runs
    share counts in the first one that needs it."""
    have: set[Hashable] = set()
    for run in known:
        have |= _shared(run.parts)
    found = []
    for parts in waiting:
        found.append(_seconds(parts, known, have))
        have |= _shared(parts)
    return found


def _shared(parts: Parts) -> set[Hashable]:
    """What later runs find: measurements of the dense and of the pruned model, the sparse model."""
    named = {"dense": parts.dense, "pruned": parts.pruned, "sparse": parts.sparse}
    return {(kind, key) for kind, key in named.items() if key is not None}


def _seconds(parts: Parts, known: Sequence[Finished], have: set[Hashable]) -> float | None:
    same = [run for run in known if run.parts.model == parts.model]
    needs_dense = parts.dense is not None and ("dense", parts.dense) not in have
    needs_pruned = parts.has_pruned_stage and ("pruned", parts.pruned) not in have
    found = [_mean(same, lambda run: run.rest)]
    if parts.prunes and ("sparse", parts.sparse) not in have:
        found.append(_walk(parts, same))
    if needs_pruned and parts.initial is not None:
        found.append(_initial(parts, same))
    stages = parts.prunes + needs_dense + needs_pruned
    if parts.evaluation is not None and stages:
        alike = [run for run in same if run.parts.evaluation == parts.evaluation]
        one = _mean(alike, lambda run: run.evaluation)
        found.append(None if one is None else stages * one)
    return None if None in found else sum(one for one in found if one is not None)


def _walk(parts: Parts, same: Sequence[Finished]) -> float | None:
    """Of runs with the same options, or else with the same methods."""
    own = [run for run in same if run.parts.methods == parts.methods]
    alike = [run for run in same if run.parts.names == parts.names]
    exact = _mean(own, lambda run: run.walk)
    return exact if exact is not None else _mean(alike, lambda run: run.walk)


def _initial(parts: Parts, same: Sequence[Finished]) -> float | None:
    """Of runs with the same pruner: their own walk for the `pruned` stage, or all that they did."""
    pruner = [run for run in same if run.parts.initial == parts.initial]
    alone = [run for run in same if run.parts.alone == parts.initial]
    own = _mean(pruner, lambda run: run.initial)
    return own if own is not None else _mean(alone, lambda run: run.walk)


def _mean(runs: Sequence[Finished], of: Callable[[Finished], float | None]) -> float | None:
    values = [value for value in map(of, runs) if value is not None]
    return mean(values) if values else None
