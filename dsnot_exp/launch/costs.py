"""What a finished run of a sweep took, by part: its walks through the blocks, its evaluations, and
the rest. A later run has some of these parts."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import Any

from dsnot_exp.launch.jobs import Job
from dsnot_exp.methods import registry
from dsnot_exp.results.file import finished

INITIAL = ("calibrate", "prune")  # phases of the walk of the `pruned` stage
FURTHER = ("allocate", "refine", "reconstruct", "keep", "finetune")


@dataclass(frozen=True)
class Parts:
    """What a job does, as keys: two jobs with the same key share the work or its price.

    model: what it loads
    methods: of its walk, with all options; names: without them
    initial: the pruner of the walk for the `pruned` stage; None without such a walk
    alone: the pruner, if nothing follows it in the walk; else None
    evaluation: of one stage; None if nothing is evaluated
    dense, pruned: the measurements that runs share; None if the job does not need them
    sparse: the sparse model that runs share; None if it does not
    prunes: whether it prunes at all
    """

    model: Hashable
    methods: Hashable
    names: tuple[str, ...]
    initial: str | None
    alone: str | None
    evaluation: Hashable | None
    dense: Hashable | None
    pruned: Hashable | None
    sparse: Hashable | None
    prunes: bool

    @property
    def has_pruned_stage(self) -> bool:
        """Whether the pruned model is evaluated and is not the result."""
        return self.pruned is not None and self.alone is None


def parts_of(job: Job) -> Parts:
    config = job.config
    assert config is not None
    model = repr((job.device, replace(config.model, perplexity=[], tasks=[], max_cycles="auto")))
    evaluates = bool(config.eval.perplexity or config.eval.tasks)
    evaluation = repr(replace(config.eval, name="", baselines=[])) if evaluates else None
    prunes = not _none(config.prune)
    walks_again = not (_none(config.refine) and _none(config.reconstruct))
    trains = not _none(config.finetune)
    needs_dense = not prunes or "dense" in config.eval.baselines
    needs_pruned = prunes and evaluates and "pruned" in config.eval.baselines
    start = repr((config.prune, config.allocate, config.calib, config.pattern, config.sparsity))
    pruned = (model, evaluation, start, config.seed)
    groups = [getattr(config, group) for group in registry.OURS]
    return Parts(
        model=model,
        methods=repr((groups, config.calib, config.relative_error)),
        names=tuple(str(group["name"]) for group in groups),
        initial=config.prune["name"] if needs_pruned and walks_again else None,
        alone=config.prune["name"] if prunes and not (walks_again or trains) else None,
        evaluation=evaluation,
        dense=(model, evaluation) if needs_dense and evaluates else None,
        pruned=pruned if needs_pruned else None,
        sparse=job.sparse,
        prunes=prunes,
    )


@dataclass(frozen=True)
class Finished:
    """Seconds of a finished run; None where it had no such part.

    walk: the run's own, training included; initial: of the `pruned` stage
    evaluation: of one stage
    """

    parts: Parts
    walk: float | None
    initial: float | None
    evaluation: float | None
    rest: float


def finished_run(job: Job) -> Finished | None:
    """The finished run of a job; None if there is none."""
    if not job.done or job.identity is None:
        return None
    result = finished(job.folder, job.identity)
    if result is None:
        return None
    parts, seconds = parts_of(job), {k: float(v) for k, v in result["timing_s"].items()}
    reused = result.get("reused_stages", [])
    own = parts.prunes and "sparse" not in reused
    again = parts.initial is not None and "pruned" not in reused
    initial = sum(seconds.get(phase, 0) for phase in INITIAL)
    further = sum(seconds.get(phase, 0) for phase in FURTHER)
    walks = own + again
    each = initial / walks if walks else 0.0
    stages = _stages(parts, result)
    evaluating = seconds.get("evaluate", 0.0)
    return Finished(
        parts,
        walk=each + further if own else None,
        initial=each if again else None,
        evaluation=evaluating / stages if stages else None,
        rest=max(0.0, seconds.get("total", 0.0) - evaluating - initial - further),
    )


def _stages(parts: Parts, result: dict[str, Any]) -> float:
    """How many stages the run has evaluated itself. A text or task counts as its share of one."""
    metrics, earlier = result["metrics"], result.get("measured_earlier", {})
    names = {*metrics["perplexity"], *metrics["zero_shot"]}
    if not names:
        return 0.0

    def measured(taken: list[str]) -> float:
        return 1 - len(names & set(taken)) / len(names)

    count = measured(earlier.get("refined", [])) if parts.prunes else 0.0
    if parts.dense is not None:
        count += measured(result.get("reused", []))
    if parts.has_pruned_stage and "pruned" not in result.get("reused_stages", []):
        count += measured(earlier.get("pruned", []))
    return count


def _none(options: dict[str, Any]) -> bool:
    return bool(options["name"] == registry.NONE)
