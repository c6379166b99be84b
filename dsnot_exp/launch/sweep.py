"""Announces a sweep before its first job, completes it, and sums it up. Its jobs are plain runs."""

from __future__ import annotations

import logging
import os
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, ClassVar

from hydra.core.utils import JobReturn
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from dsnot_exp.launch import leftovers
from dsnot_exp.launch.announcement import announcement, outlook
from dsnot_exp.launch.estimate import NOTHING, Ahead, time_left
from dsnot_exp.launch.failure import report
from dsnot_exp.launch.jobs import Job, Planned, planned
from dsnot_exp.launch.plugin_words import use_composed
from dsnot_exp.results.file import recorded_error
from dsnot_exp.run.in_use import using_folder
from dsnot_exp.run.lock import lock_folder
from dsnot_exp.utils.console import JOBS, say
from dsnot_exp.utils.errors import INTERRUPTED, RequestError, first_line
from dsnot_exp.utils.torchrun import rank, world_size

log = logging.getLogger(__name__)


class Sweep(Callback):
    """Hydra callback, called before the first job and, without a launcher, after each job.

    plan: what the current sweep does; None without one, or if Hydra refuses it
    used: its folder, marked as in use
    ahead: what is known of its time from no finished run
    """

    plan: ClassVar[Planned | None] = None
    used: ClassVar[ExitStack] = ExitStack()
    ahead: ClassVar[Ahead] = NOTHING

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
        first, Sweep.plan = Sweep.plan is None, None
        if first:
            leftovers.expect_sweep(Path(config.hydra.sweep.dir))
            Sweep.use(Path(config.hydra.sweep.dir))
            use_composed(config.plugins)
        try:
            Sweep.plan = planned(config)
        except HydraException:  # Hydra composes the jobs again and reports it
            return
        os.environ[JOBS] = str(len(Sweep.plan.to_start))  # launchers pass it to their processes
        if first:
            for line in announcement(Sweep.plan, config):
                say(line)
            refuse_invalid(Sweep.plan.jobs)
            Sweep.ahead = say_outlook(Sweep.plan, config)

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **_: Any) -> None:
        """After a job in this process: how long the others will take."""
        if Sweep.plan is None:
            return
        following = Sweep.plan.to_start[config.hydra.job.num + 1 :]
        line = time_left(following, Sweep.plan.jobs, Sweep.ahead)
        if line is not None:
            say(f"sweep     {line}")


def say_outlook(plan: Planned, config: DictConfig) -> Ahead:
    """Say what the runs need and how long they will take; returns what is known of the time. An
    error here must not keep the runs from starting."""
    if rank() or all(job.config is None or job.done for job in plan.jobs):
        return NOTHING
    from dsnot_exp.launch.outlook import look_ahead  # slow: torch

    try:
        found = look_ahead(plan, config)
        for line in outlook(plan, found):
            say(line)
        return found.ahead
    except Exception as error:
        log.info("the needs of the sweep are not known", exc_info=True)
        say(f"  time      no estimate: {type(error).__name__}: {first_line(error)}")
        return NOTHING


def refuse_invalid(jobs: list[Job]) -> None:
    """Report the jobs that are refused for their options, before the first run. They do not
    start."""
    refusals = dict.fromkeys(job.refusal for job in jobs if job.invalid)
    for line in refusals if rank() == 0 else ():
        print(f"dsnot_exp: {line}", file=sys.stderr, flush=True)


def complete(code: int, rerun: Callable[[], int]) -> int:
    """Complete a sweep: wait for jobs that other processes are running, rerun those that they leave
    unfinished, and print a summary. Returns the exit code.

    rerun: runs the sweep again
    """
    if Sweep.plan is None:
        return code
    single = world_size() == 1  # under torchrun the processes could disagree on what to rerun
    try:
        while single and code != INTERRUPTED and wait_for(running_elsewhere()):
            sys.argv.append("rerun=false")
            code = rerun()
    except KeyboardInterrupt as error:
        code = report(error)
    jobs = Sweep.plan.jobs
    for line in summary(jobs):
        say(line)
    left = [job for job in jobs if not job.done]
    refused = [job for job in left if job.refused is not None]
    for job in refused:
        if leftovers.only_note(job.folder):
            leftovers.remove_run(job.folder)
    all_refused = len(refused) == len(jobs)
    Sweep.plan = None
    Sweep.used.close()
    os.environ.pop(JOBS, None)
    return code or (RequestError.exit_code if all_refused else int(bool(left)))


def running_elsewhere() -> list[Job]:
    """Unfinished jobs that another process is running."""
    found = []
    for job in Sweep.plan.jobs if Sweep.plan is not None else ():
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
    refusals = Counter(job.refused for job in failed if job.refused is not None)
    lines += [f"refused   {why}" + (f" ({n} runs)" if n > 1 else "") for why, n in refusals.items()]
    begun = [job for job in failed if job.refused is None]
    lines += [f"failed    {job.folder}: {recorded_error(job.folder)}" for job in begun]
    lines += ["run the same command to retry the failed runs"] if begun else []
    return (
        [*lines, f"report    python -m dsnot_exp.report {root}"]
        if len(failed) < len(jobs)
        else lines
    )
