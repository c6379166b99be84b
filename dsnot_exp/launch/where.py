"""Where the jobs of a sweep run, by its launcher."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import DictConfig

from dsnot_exp.launch.machine import cores, gpus, threads_of

LOCAL = ("joblib", "submitit_local")


@dataclass(frozen=True)
class Where:
    """launcher: its name
    here: on this machine; apart: each in a process of its own
    at_once: jobs that run side by side
    threads: of a job; None: as many as this process has
    """

    launcher: str
    here: bool
    apart: bool
    at_once: int = 1
    threads: int | None = None


def where_jobs_run(config: DictConfig, jobs: int, accelerator: bool) -> Where:
    """accelerator: they compute on one, which does not become faster if jobs share it"""
    launcher = config.hydra.runtime.choices["hydra/launcher"]
    if launcher == "basic":
        return Where(launcher, here=True, apart=False)
    if launcher not in LOCAL:
        return Where(launcher, here=False, apart=True)
    options = config.hydra.launcher
    asked = options.n_jobs if launcher == "joblib" else jobs
    asked = asked if asked > 0 else cores()
    most = gpus() if accelerator else cores()
    at_once = max(1, min(asked, jobs, most))
    return Where(launcher, True, True, at_once, threads_of(launcher, options))
