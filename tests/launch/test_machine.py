"""A job's share of the machine, and launchers that are not installed."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from filelock import FileLock
from hydra.core.config_store import ConfigStore
from hydra.types import RunMode
from omegaconf import OmegaConf

from dsnot_exp.launch import hydra_setup, machine
from tests.support.command import Command


@pytest.mark.parametrize("launcher", hydra_setup.EXTRAS)
def test_a_launcher_that_is_not_installed_names_the_extra_to_install(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, launcher: str
) -> None:
    launchers = ConfigStore.instance().repo["hydra"]["launcher"]
    monkeypatch.setitem(launchers, "plugin", {})
    done = command("-m", f"hydra/launcher={launcher}", run="")
    line = f"hydra/launcher={launcher}: not installed; "
    line += f"run pip install 'dsnot_exp[{hydra_setup.EXTRAS[launcher]}]'"
    assert (done.code, done.err) == (2, f"dsnot_exp: {line}\n")


def test_each_process_takes_a_gpu_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(machine, "held", [])
    other = FileLock(tmp_path / f"dsnot_exp-{os.getuid()}-gpu0.lock")
    with other:
        assert machine.own_gpu(1) == 0  # more processes than GPUs
        assert [machine.own_gpu(3), machine.own_gpu(3)] == [1, 1]
    for lock in machine.held:
        lock.release()


@pytest.mark.parametrize(
    ("launcher", "options", "mode", "threads", "gpu"),
    [
        ("basic", {}, RunMode.MULTIRUN, None, None),
        ("joblib", {"n_jobs": 4}, RunMode.RUN, None, None),
        ("joblib", {"n_jobs": 4}, RunMode.MULTIRUN, 2, 0),
        ("joblib", {"n_jobs": -1}, RunMode.MULTIRUN, 1, 0),
        ("submitit_local", {"cpus_per_task": 3}, RunMode.MULTIRUN, 3, 0),
        ("submitit_slurm", {"cpus_per_task": None}, RunMode.MULTIRUN, None, None),
        ("ray", {"ray": {"remote": {"num_cpus": 5}}}, RunMode.MULTIRUN, 5, None),
    ],
)
def test_the_share_of_each_launcher(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    launcher: str, options: dict[str, object], mode: RunMode, threads: int | None, gpu: int | None,
) -> None:  # fmt: skip
    """On a machine of 8 cores and 2 GPUs."""
    config = {"hydra": {"launcher": options, "runtime": {"choices": {"hydra/launcher": launcher}}}}
    hydra = OmegaConf.create(config).hydra
    node = SimpleNamespace(mode=mode, launcher=hydra.launcher, runtime=hydra.runtime)
    monkeypatch.setattr(machine.HydraConfig, "get", lambda: node)
    monkeypatch.setattr(machine, "cores", lambda: 8)
    monkeypatch.setattr(machine, "gpus", lambda: 2)
    monkeypatch.setattr(machine, "held", [])
    monkeypatch.setattr(machine.console, "is_interactive", True)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    seen: dict[str, int] = {}
    monkeypatch.setattr(torch, "set_num_threads", lambda n: seen.update(threads=n))
    monkeypatch.setattr(torch.accelerator, "set_device_index", lambda n: seen.update(gpu=n))
    machine.take_share()
    expected = {"threads": threads, "gpu": gpu}
    assert seen == {key: value for key, value in expected.items() if value is not None}
    for lock in machine.held:
        lock.release()
