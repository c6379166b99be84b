"""The jobs of a sweep, before they run: their folders, and whether they are finished or refused."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig

from dsnot_exp.config import Config
from dsnot_exp.launch import leftovers
from dsnot_exp.launch.grids import combinations_of, folder_of
from dsnot_exp.launch.hydra_setup import register
from dsnot_exp.results.file import finished_with_model, recorded_error, written_at
from dsnot_exp.run.composed import request_of
from dsnot_exp.run.settle import settle
from dsnot_exp.utils.errors import DsnotError

if TYPE_CHECKING:
    from dsnot_exp.run.plan import Plan

register()  # the jobs are composed here


@dataclass(frozen=True)
class Job:
    """One run of a sweep.

    words: what its command would be
    identity, config: None if the request is invalid
    device: kind of device, such as cpu; sparse: hash of the sparse model, if other runs can take
        that from this one
    replaces: modification time of the result that rerun=true will replace
    refusal: the error if an option is invalid
    invalid: refused wherever it runs; else another machine may have the device it asks for
    """

    folder: Path
    words: list[str] = field(default_factory=list)
    identity: str | None = None
    config: Config | None = None
    device: str = ""
    sparse: str | None = None
    replaces: float | None = None
    refusal: str | None = None
    invalid: bool = False

    @property
    def refused(self) -> str | None:
        """Why the job was refused before it had begun: for its options, its model or its data."""
        if self.refusal is None and leftovers.only_note(self.folder):
            return recorded_error(self.folder)
        return self.refusal

    @property
    def done(self) -> bool:
        if self.identity is None or self.config is None:
            return False
        if self.replaces is not None and self.replaces == written_at(self.folder):
            return False
        return finished_with_model(self.folder, self.identity, self.config.save) is not None


@dataclass(frozen=True)
class Planned:
    """The jobs of a sweep, each once and in order.

    combinations: how many the sweep's values have
    left_out: options that some combinations' methods do not have
    """

    jobs: list[Job]
    combinations: int
    left_out: list[str]

    @property
    def to_start(self) -> list[Job]:
        """Those that a launcher gets, finished ones included."""
        return [job for job in self.jobs if not job.invalid]


def planned(config: DictConfig) -> Planned:
    """What the sweep of `config` will do."""
    loader = GlobalHydra.instance().config_loader()
    combinations = combinations_of(config, loader)
    jobs: dict[Any, Job] = {}
    for found in combinations:
        job = _job(loader.load_sweep_config(config, found.words), found.words)
        # Runs of one folder are the same run, unless one leaves more there than the other.
        leaves = None if job.config is None else (job.config.save, job.config.keep)
        jobs.setdefault((job.folder, leaves), job)
    left_out = dict.fromkeys(option for found in combinations for option in found.left_out)
    return Planned(list(jobs.values()), len(combinations), list(left_out))


def _job(composed: DictConfig, words: list[str]) -> Job:
    folder = folder_of(composed)
    try:
        settle(request_of(composed))
    except DsnotError as error:
        return Job(folder, words, refusal=str(error), invalid=True)
    from dsnot_exp.run.fingerprint import config_hash, sparse_hash  # slow: torch
    from dsnot_exp.run.plan import plan_of  # slow: torch

    try:
        plan = plan_of(composed)
    except DsnotError as error:  # the job itself reports the error
        return Job(folder, words, refusal=str(error))
    return Job(
        folder,
        words,
        config_hash(plan),
        plan.config,
        plan.device.type,
        sparse_hash(plan) if _shares(plan) else None,
        written_at(folder) if plan.config.rerun else None,
    )


def _shares(plan: Plan) -> bool:
    """Whether the run leaves its sparse model to others: its masks suffice, or weights are kept."""
    if plan.recipe is None or plan.config.rerun:
        return False
    return plan.config.keep in (("weights",) if plan.recipe.moves else ("masks", "weights"))
