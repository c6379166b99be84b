"""How long the runs of a sweep will take, from those that are finished.

Each part of a run is taken from finished runs of the same model: a walk from those with the same
methods, an evaluation from those with the same options of `eval`. A run with a part that no
finished run had takes what was foreseen of it, if anything was.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

from dsnot_exp.launch.costs import Finished, Parts, finished_run, parts_of
from dsnot_exp.launch.jobs import Job
from dsnot_exp.run.price import Price
from dsnot_exp.utils.words import roughly


@dataclass(frozen=True)
class Ahead:
    """What is known of runs before any of them has run.

    prices: by the job's identity
    basis: how they were found, such as `on NVIDIA H200, estimated (...)`; left_out: what they lack
    at_once: jobs that run side by side
    """

    prices: Mapping[str, Price]
    basis: str
    left_out: str = ""
    at_once: int = 1


NOTHING = Ahead({}, "")


def time_left(left: Sequence[Job], jobs: Sequence[Job], ahead: Ahead = NOTHING) -> str | None:
    """`about 20 min left, from 3 finished runs`: the runs of `left` that are not finished. None if
    nothing is known of any of them. jobs: all jobs of the sweep"""
    known = [found for found in map(finished_run, jobs) if found is not None]
    waiting = [job for job in left if job.config is not None and not job.done]
    parts = [parts_of(job) for job in waiting]
    learnt = estimates(parts, known)
    priced = [_priced(job, ahead) for job in waiting if job.identity in ahead.prices]
    foreseen = estimates(parts, priced, after=known)
    both = [a if a is not None else b for a, b in zip(learnt, foreseen, strict=True)]
    told = [one for one in both if one is not None]
    if not told:
        return None
    some = "" if len(told) == len(both) else f" for {len(told)} of {len(both)} runs"
    took = f"about {roughly(max(sum(told) / ahead.at_once, *told))}"
    runs = f"{len(known)} finished run{'s' if len(known) != 1 else ''}"
    if not known:
        return f"{took}{some} {ahead.basis}{ahead.left_out}"
    if None not in learnt:
        return f"{took} left, from {runs}"
    if not any(foreseen):
        return f"{took} left{some}, from {runs}"
    return f"{took} left{some}, from {runs} and an estimate of the others"


def is_told(left: Sequence[Job], jobs: Sequence[Job]) -> bool:
    """Whether finished runs tell the time of all that are left."""
    known = [found for found in map(finished_run, jobs) if found is not None]
    return None not in estimates([parts_of(job) for job in left], known)


def _priced(job: Job, ahead: Ahead) -> Finished:
    """As if the job had run, and taken what was foreseen."""
    price = ahead.prices[job.identity or ""]
    return Finished(parts_of(job), price.walk, price.initial, price.evaluation, rest=0.0)


def estimates(
    waiting: Sequence[Parts], known: Sequence[Finished], after: Sequence[Finished] | None = None
) -> list[float | None]:
    """Seconds of each run in `waiting`, in this order; None where a part is unknown. What runs
    share counts in the first one that needs it. after: runs that have left it; None: `known`"""
    have: set[Hashable] = set()
    for run in known if after is None else after:
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
