"""Splits a machine's cores and GPUs between the jobs that a launcher runs in parallel."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from filelock import FileLock, Timeout
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from dsnot_exp.utils.console import console

CORES_PER_JOB = 4  # without a GPU
held: list[FileLock] = []  # GPU locks, held until this process ends


def take_share() -> None:
    """At the start of a parallel job: set its threads and its GPU, and turn off progress bars. A
    single run, or a job of Hydra's basic (sequential) launcher, keeps the whole machine."""
    import torch

    hydra = HydraConfig.get()
    launcher = hydra.runtime.choices["hydra/launcher"]
    if hydra.mode != RunMode.MULTIRUN or launcher == "basic":
        return
    console.is_interactive = False  # progress bars of several processes would overwrite each other
    threads = threads_of(launcher, hydra.launcher)
    if threads is not None:
        torch.set_num_threads(threads)
    if launcher in ("joblib", "submitit_local") and gpus() > 1:
        from dsnot_exp.utils import accelerator

        accelerator.use(own_gpu(gpus()))  # the GPU of `device=auto` and `device=cuda`


def threads_of(launcher: str, options: DictConfig) -> int | None:
    """Number of torch threads; None: torch's default, which is the cores the job may use."""
    if launcher == "joblib":
        jobs = options.n_jobs if options.n_jobs > 0 else cores()
        share = max(1, cores() // jobs)
        return min(share, int(os.environ.get("OMP_NUM_THREADS") or share))
    asked = options.ray.remote.get("num_cpus") if launcher == "ray" else options.cpus_per_task
    return None if asked is None else max(1, int(asked))


def own_gpu(count: int) -> int:
    """Claim a GPU that no other process of this user has claimed; the claim ends with this process,
    even if it is killed. With more processes than GPUs, several share one."""
    for number in range(count):
        name = f"dsnot_exp-{os.getuid()}-gpu{number}.lock"
        lock = FileLock(Path(tempfile.gettempdir()) / name)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if any(one.lock_file == lock.lock_file for one in held):
                return number
            continue
        held.append(lock)
        return number
    return os.getpid() % count


def jobs_at_once() -> int:
    """Jobs that run in parallel: one per GPU; without GPUs one per 4 cores, because a job gains
    little from more."""
    return gpus() or max(1, cores() // CORES_PER_JOB)


def cores_per_job() -> int:
    return max(1, cores() // jobs_at_once())


def gpus(most: int | None = None) -> int:
    """Number of GPUs, at most `most`."""
    from dsnot_exp.utils import accelerator  # torch is slow to import; only launchers ask

    count = accelerator.count()
    return count if most is None else min(most, count)


def cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
