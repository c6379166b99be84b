"""A sweep as a whole: what it is going to do, and what came of it. Its jobs are ordinary runs."""

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
from dsnot_exp.results.file import noted, whole, written
from dsnot_exp.run.fingerprint import config_hash, plan_of
from dsnot_exp.run.lock import owned
from dsnot_exp.utils.console import say
from dsnot_exp.utils.distributed import current
from dsnot_exp.utils.errors import DsnotError

NAMES_SHOWN = 12


@dataclass(frozen=True)
class Job:
    """One run of a sweep. `identity` and `config` are None where its request was refused.
    `before`: when a result was written that is to be made again (rerun=true)."""

    folder: Path
    identity: str | None = None
    config: Config | None = None
    before: float | None = None

    @property
    def done(self) -> bool:
        if self.identity is None or self.config is None:
            return False
        if self.before is not None and self.before == written(self.folder):
            return False
        return whole(self.folder, self.identity, self.config.save) is not None


class Sweep(Callback):
    """Hydra calls it before the first job. `jobs`: those of the sweep that is under way."""

    jobs: ClassVar[list[Job]] = []

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        first = not Sweep.jobs
        Sweep.jobs = planned(config)
        if first:
            for line in announcement(Sweep.jobs, config):
                say(line)


def planned(config: DictConfig) -> list[Job]:
    """The jobs that Hydra's basic sweeper will make of `config`, in its order."""
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
    except DsnotError:  # the job itself will say why
        return Job(folder)
    before = written(folder) if plan.config.rerun else None
    return Job(folder, config_hash(plan), plan.config, before)


def announcement(jobs: list[Job], config: DictConfig) -> list[str]:
    """How many runs, which exist already, and which models they need."""
    done = [job for job in jobs if job.done]
    count = f"{len(jobs)} run{'s' if len(jobs) != 1 else ''}"
    lines = [f"sweep {config.sweep}: {count}, {len(done)} of them finished before"]
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


def complete(code: int, again: Callable[[], int]) -> int:
    """See a sweep to its end: wait for the jobs that other processes are at, take over those that
    they leave unfinished, and say what came of all. Returns the exit code."""
    if not Sweep.jobs:
        return code
    alone = current().size == 1  # else what one process begins again, the others do not
    try:
        while alone and code != INTERRUPTED and (others := elsewhere()) and wait_for(others):
            sys.argv.append("rerun=false")
            code = again()
    except KeyboardInterrupt as error:
        code = report(error)
    for line in summary(Sweep.jobs):
        say(line)
    left = any(not job.done for job in Sweep.jobs)
    Sweep.jobs = []
    return code or int(left)


def elsewhere() -> list[Job]:
    """Jobs that are not done because another process is at them."""
    found = []
    for job in Sweep.jobs:
        if job.identity is not None and not job.done:
            with owned(job.folder, wait=False) as ours:
                found += [] if ours else [job]
    return found


def wait_for(jobs: list[Job]) -> bool:
    """Wait until nobody is at these jobs; returns whether one of them was left unfinished."""
    for job in jobs:
        with owned(job.folder, wait=True):
            pass
    return not all(job.done for job in jobs)


def summary(jobs: list[Job]) -> list[str]:
    """What came of the sweep."""
    failed = [job for job in jobs if not job.done]
    root = jobs[0].folder.parent
    lines = [f"sweep     {len(jobs) - len(failed)} of {len(jobs)} runs finished in {root}"]
    lines += [f"failed    {job.folder}: {noted(job.folder)}" for job in failed]
    lines += ["the same command runs what failed again, and nothing else"] if failed else []
    return [*lines, f"report    python -m dsnot_exp.report {root}"]
