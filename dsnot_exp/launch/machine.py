"""Jobs beside each other: what Hydra's launchers need, and each job's share of a machine."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import torch
from filelock import FileLock, Timeout
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from dsnot_exp.utils.console import console

CORES_PER_JOB = 4  # without a GPU
held: list[FileLock] = []  # as long as this process lives


def take_share() -> None:
    """At the start of a job: its threads, its GPU, and a display that is not alone. Nothing changes
    for a single run, nor for jobs that Hydra's basic launcher runs one after the other."""
    hydra = HydraConfig.get()
    launcher = hydra.runtime.choices["hydra/launcher"]
    if hydra.mode != RunMode.MULTIRUN or launcher == "basic":
        return
    console.is_interactive = False  # bars of several processes would overwrite each other
    threads = _threads(launcher, hydra.launcher)
    if threads is not None:
        torch.set_num_threads(threads)
    if launcher in ("joblib", "submitit_local") and gpus() > 1:
        torch.cuda.set_device(own_gpu(gpus()))  # which `device=auto` and `cuda` then mean


def _threads(launcher: str, options: DictConfig) -> int | None:
    """Those of torch; None leaves them to torch, which sees the cores that the job may use."""
    if launcher == "joblib":
        jobs = options.n_jobs if options.n_jobs > 0 else cores()
        share = max(1, cores() // jobs)
        return min(share, int(os.environ.get("OMP_NUM_THREADS") or share))
    asked = options.ray.remote.get("num_cpus") if launcher == "ray" else options.cpus_per_task
    return None if asked is None else max(1, int(asked))


def own_gpu(count: int) -> int:
    """A GPU that no other process of this user has taken here; it is free again when this process
    ends, however it ends. With more processes than GPUs they share."""
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
    """One per GPU; without any, one per few cores: a job gains little from more."""
    return gpus() or max(1, cores() // CORES_PER_JOB)


def cores_per_job() -> int:
    return max(1, cores() // jobs_at_once())


def gpus(most: int | None = None) -> int:
    """How many there are, or `most`."""
    count = torch.cuda.device_count()
    return count if most is None else min(most, count)


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
