"""Announces a sweep before its first job, completes it, and sums it up. Its jobs are plain runs."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, ClassVar

from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from dsnot_exp.config import Config
from dsnot_exp.launch import leftovers
from dsnot_exp.launch.failure import INTERRUPTED, report
from dsnot_exp.launch.jobs import Job, planned
from dsnot_exp.launch.plugin_words import use_composed
from dsnot_exp.models import smollm2_folder
from dsnot_exp.results.file import recorded_error
from dsnot_exp.run.in_use import using_folder
from dsnot_exp.run.lock import lock_folder
from dsnot_exp.utils.console import JOBS, say
from dsnot_exp.utils.errors import RequestError
from dsnot_exp.utils.torchrun import world_size

NAMES_SHOWN = 12


class Sweep(Callback):
    """Hydra callback, called before the first job. `jobs`: the jobs of the current sweep."""

    jobs: ClassVar[list[Job]] = []
    used: ClassVar[ExitStack] = ExitStack()

    @classmethod
    def use(cls, folder: Path) -> None:
        """Mark the sweep's folder as in use until `complete`: `runs clean` leaves it alone."""
        with suppress(OSError):  # Hydra reports a folder that it cannot create
            folder.mkdir(parents=True, exist_ok=True)
            cls.used.enter_context(using_folder(folder))

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        with suppress(Exception):  # a refused run has no folder; Hydra raises the same error next
            leftovers.expect(Path(config.hydra.run.dir))

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        first = not Sweep.jobs
        if first:
            leftovers.expect_sweep(Path(config.hydra.sweep.dir))
            Sweep.use(Path(config.hydra.sweep.dir))
            use_composed(config.plugins)
        try:
            Sweep.jobs = planned(config)
        except HydraException:  # Hydra composes the jobs again and reports it
            return
        os.environ[JOBS] = str(len(Sweep.jobs))  # launchers pass it on to their processes
        if first:
            for line in announcement(Sweep.jobs, config):
                say(line)


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
    if smollm2_folder.is_it(config.model):
        return "in the cache" if smollm2_folder.is_made() else f"absent: type {smollm2_folder.MAKE}"
    if path is None:
        return "bundled"
    place = Path(path).expanduser()
    if place.exists():
        return "folder" if place.is_dir() else "file"
    from huggingface_hub import try_to_load_from_cache

    try:
        known = isinstance(try_to_load_from_cache(path, "config.json", revision=revision), str)
    except ValueError:  # not a hub id
        return "not found"
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
    single = world_size() == 1  # under torchrun the processes could disagree on what to rerun
    try:
        while single and code != INTERRUPTED and wait_for(running_elsewhere()):
            sys.argv.append("rerun=false")
            code = rerun()
    except KeyboardInterrupt as error:
        code = report(error)
    for line in summary(Sweep.jobs):
        say(line)
    left = [job for job in Sweep.jobs if not job.done]
    refused = [job for job in left if job.refused is not None]
    for job in refused:
        if leftovers.only_note(job.folder):
            leftovers.remove_run(job.folder)
    all_refused = len(refused) == len(Sweep.jobs)
    Sweep.jobs = []
    Sweep.used.close()
    os.environ.pop(JOBS, None)
    return code or (RequestError.exit_code if all_refused else int(bool(left)))


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
    lines += [f"refused   {job.refused}" for job in failed if job.refused is not None]
    begun = [job for job in failed if job.refused is None]
    lines += [f"failed    {job.folder}: {recorded_error(job.folder)}" for job in begun]
    lines += ["run the same command to retry the failed runs"] if begun else []
    return (
        [*lines, f"report    python -m dsnot_exp.report {root}"]
        if len(failed) < len(jobs)
        else lines
    )
