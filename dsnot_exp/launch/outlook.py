"""What the runs of a sweep need and how long they will take, before the first of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from omegaconf import DictConfig

from dsnot_exp.config import Config
from dsnot_exp.launch.estimate import Ahead, is_told
from dsnot_exp.launch.jobs import Job, Planned
from dsnot_exp.launch.needs import needs_of_disk, needs_of_models
from dsnot_exp.launch.where import Where, where_jobs_run
from dsnot_exp.models.at_hand import AtHand, at_hand
from dsnot_exp.models.source import Source
from dsnot_exp.run.foresee import Foreseen, foresee, foresee_apart
from dsnot_exp.run.model_shape import model_key
from dsnot_exp.utils.torchrun import world_size

PLENTY = 10**10  # bytes of weights whose reading takes long enough to be mentioned


@dataclass(frozen=True)
class Outlook:
    """jobs: those that are to run; models: where theirs are, by `model_key`"""

    jobs: list[Job]
    where: Where
    models: Mapping[str, AtHand]
    foreseen: Foreseen

    @property
    def configs(self) -> list[Config]:
        return [job.config for job in self.jobs if job.config is not None]

    def needs(self) -> list[str]:
        """Lines on the models and on the disk."""
        named = {model_key(config.model): config.model for config in self.configs}
        return [
            *needs_of_models(named, self.models, self.foreseen),
            *needs_of_disk(self.jobs, self.models, self.foreseen),
        ]

    @property
    def ahead(self) -> Ahead:
        """What is known of the time."""
        found = self.foreseen
        prices = {
            job.identity or "": price
            for job, price in zip(self.jobs, found.prices, strict=True)
            if price.evaluation is not None
        }
        return Ahead(prices, self._basis(), self._left_out(), self.where.at_once)

    def no_time(self) -> str | None:
        """Why there is no estimate; None if there is, or if none is wanted."""
        if not self.where.here:
            return f"no estimate: hydra/launcher={self.where.launcher} runs the jobs elsewhere"
        reasons = [needs.absent for needs in self.foreseen.models.values() if needs.absent]
        measured = any(needs.calibration for needs in self.foreseen.models.values())
        return f"no estimate: {reasons[0]}" if reasons and not measured else None

    def _basis(self) -> str:
        told = {
            key: needs.calibration
            for key, needs in self.foreseen.models.items()
            if needs.calibration is not None
        }
        if not told:
            return ""
        key, (seconds, tokens) = next(iter(told.items()))
        first = next(c.model for c in self.configs if model_key(c.model) == key)
        name = first.path or first.name
        others = f", and of {len(told) - 1} more" if len(told) > 1 else ""
        return (
            f"on {self.foreseen.device}, an estimate (one block of {name}: {seconds:.3g} s per "
            f"{tokens:,} tokens{others})"
        )

    def _left_out(self) -> str:
        read = sum(
            needs.bytes
            for config in self.configs
            if (needs := self.foreseen.models.get(model_key(config.model))) is not None
        )
        parts = [f"reading {read / 1e9:,.0f} GB of weights"] if read > PLENTY else []
        parts += ["zero-shot tasks"] if any(c.eval.tasks for c in self.configs) else []
        return f"; not included: {', '.join(parts)}" if parts else ""


def look_ahead(plan: Planned, config: DictConfig) -> Outlook:
    """Of the runs that are left."""
    jobs = [job for job in plan.jobs if job.config is not None and not job.done]
    configs = [job.config for job in jobs if job.config is not None]
    accelerated = any(job.device != "cpu" for job in jobs)
    where = where_jobs_run(config, len(jobs), accelerated)
    models = at_hand({model_key(one.model): one.model for one in configs})
    sources = {key: one.source for key, one in models.items() if one.source is not None}
    measures = where.here and not is_told(jobs, plan.jobs)
    return Outlook(jobs, where, models, _foreseen(configs, sources, where, accelerated, measures))


def _foreseen(
    configs: list[Config],
    sources: Mapping[str, Source],
    where: Where,
    accelerated: bool,
    measures: bool,
) -> Foreseen:
    processes = world_size()
    if not measures:
        return foresee(configs, sources, processes, measures=False)
    if where.apart and accelerated:
        return foresee_apart(configs, sources, processes)
    return foresee(configs, sources, processes, threads=where.threads)
