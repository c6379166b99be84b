"""Announces a sweep before its first job, completes it, and sums it up. Its jobs are plain runs."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from huggingface_hub import try_to_load_from_cache
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from dsnot_exp.config import Config
from dsnot_exp.launch.failure import INTERRUPTED, report
from dsnot_exp.results.file import finished_with_model, recorded_error, written_at
from dsnot_exp.run.fingerprint import config_hash, plan_of
from dsnot_exp.run.lock import lock_folder
from dsnot_exp.utils.console import say
from dsnot_exp.utils.distributed import current
from dsnot_exp.utils.errors import DsnotError

NAMES_SHOWN = 12


@dataclass(frozen=True)
class Job:
    """One run of a sweep.

    identity, config: None if the request is invalid
    replaces: modification time of the result that rerun=true will replace
    """

    folder: Path
    identity: str | None = None
    config: Config | None = None
    replaces: float | None = None

    @property
    def done(self) -> bool:
        if self.identity is None or self.config is None:
            return False
        if self.replaces is not None and self.replaces == written_at(self.folder):
            return False
        return finished_with_model(self.folder, self.identity, self.config.save) is not None


class Sweep(Callback):
    """Hydra callback, called before the first job. `jobs`: the jobs of the current sweep."""

    jobs: ClassVar[list[Job]] = []

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        first = not Sweep.jobs
        Sweep.jobs = planned(config)
        if first:
            for line in announcement(Sweep.jobs, config):
                say(line)


def planned(config: DictConfig) -> list[Job]:
    """The jobs that Hydra's basic sweeper will create from `config`, in the same order."""
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

    loader = GlobalHydra.instance().config_loader()
    swept = [f"{key}={value}" for key, value in (config.hydra.sweeper.params or {}).items()]
    words = [*swept, *config.hydra.overrides.task]
    overrides = OverridesParser.create(config_loader=loader).parse_overrides(words)
    (jobs,) = BasicSweeper.split_arguments(overrides, None)
    return [_job(loader.load_sweep_config(config, job)) for job in jobs]


def _job(composed: DictConfig) -> Job:
    folder = Path(composed.hydra.sweep.dir) / OmegaConf.select(composed, "hydra.sweep.subdir")
    try:
        plan = plan_of(composed)
    except DsnotError:  # the job itself reports the error
        return Job(folder)
    replaces = written_at(folder) if plan.config.rerun else None
    return Job(folder, config_hash(plan), plan.config, replaces)


def announcement(jobs: list[Job], config: DictConfig) -> list[str]:
    """Lines with the number of runs, the finished ones, and the models that the others need."""
    done = [job for job in jobs if job.done]
    count = f"{len(jobs)} run{'s' if len(jobs) != 1 else ''}"
    left = len(jobs) - len(done)
    lines = [f"sweep {config.sweep}: {count}, {len(done)} finished, {left} to run"]
    lines += [f"  finished  {_some([job.folder.name for job in done])}"] if done else []
    needed = [job.config for job in jobs if job.config is not None and not job.done]
    models = Counter(f"{one.model.path or one.model.name} ({_where(one)})" for one in needed)
    lines += [f"  needs     {_some(list(models))}"] if models else []
    return lines


def _where(config: Config) -> str:
    path, revision = config.model.path, config.model.revision
    if path is None:
        return "bundled"
    if Path(path).expanduser().is_dir():
        return "folder"
    known = isinstance(try_to_load_from_cache(path, "config.json", revision=revision), str)
    return "in the cache" if known else "to be downloaded"


def _some(names: list[str]) -> str:
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(names[:NAMES_SHOWN]) + more


def complete(code: int, rerun: Callable[[], int]) -> int:
    """Complete a sweep: wait for jobs that other processes are running, rerun those that they leave
    unfinished, and print a summary. Returns the exit code.

    rerun: runs the sweep again
    """
    if not Sweep.jobs:
        return code
    single = current().size == 1  # under torchrun the processes could disagree on what to rerun
    try:
        while single and code != INTERRUPTED and wait_for(running_elsewhere()):
            sys.argv.append("rerun=false")
            code = rerun()
    except KeyboardInterrupt as error:
        code = report(error)
    for line in summary(Sweep.jobs):
        say(line)
    left = any(not job.done for job in Sweep.jobs)
    Sweep.jobs = []
    return code or int(left)


def running_elsewhere() -> list[Job]:
    """Unfinished jobs that another process is running."""
    found = []
    for job in Sweep.jobs:
        if job.identity is not None and not job.done:
            with lock_folder(job.folder, wait=False) as ours:
                found += [] if ours else [job]
    return found


def wait_for(jobs: list[Job]) -> bool:
    """Wait until no other process runs these jobs; returns whether any is still unfinished."""
    for job in jobs:
        with lock_folder(job.folder, wait=True):
            pass
    return not all(job.done for job in jobs)


def summary(jobs: list[Job]) -> list[str]:
    """Lines with the number of finished runs, every failure, and the next commands."""
    failed = [job for job in jobs if not job.done]
    root = jobs[0].folder.parent
    lines = [f"sweep     {len(jobs) - len(failed)} of {len(jobs)} runs finished in {root}"]
    lines += [f"failed    {job.folder}: {recorded_error(job.folder)}" for job in failed]
    lines += ["run the same command to retry the failed runs"] if failed else []
    return [*lines, f"report    python -m dsnot_exp.report {root}"]
