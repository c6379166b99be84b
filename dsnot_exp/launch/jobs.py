"""The jobs of a sweep, before they run: their folders, and whether they are finished or refused."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig

from dsnot_exp.config import Config
from dsnot_exp.launch import leftovers
from dsnot_exp.launch.grids import folder_of, jobs_of
from dsnot_exp.launch.hydra_setup import register
from dsnot_exp.results.file import finished_with_model, recorded_error, written_at
from dsnot_exp.run.composed import request_of
from dsnot_exp.run.settle import settle
from dsnot_exp.utils.errors import DsnotError

register()  # the jobs are composed here


@dataclass(frozen=True)
class Job:
    """One run of a sweep.

    identity, config: None if the request is invalid
    refusal: the error if an option is invalid
    replaces: modification time of the result that rerun=true will replace
    """

    folder: Path
    identity: str | None = None
    config: Config | None = None
    replaces: float | None = None
    refusal: str | None = None

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


def planned(config: DictConfig) -> list[Job]:
    """The jobs that the sweeper will create from `config`, in the same order."""
    loader = GlobalHydra.instance().config_loader()
    return [_job(composed) for _, composed in jobs_of(config, loader)]


def _job(composed: DictConfig) -> Job:
    folder = folder_of(composed)
    try:
        settle(request_of(composed))
        from dsnot_exp.run.fingerprint import config_hash, plan_of  # slow: torch

        plan = plan_of(composed)
    except DsnotError as error:  # the job itself reports the error
        return Job(folder, refusal=str(error))
    replaces = written_at(folder) if plan.config.rerun else None
    return Job(folder, config_hash(plan), plan.config, replaces)
