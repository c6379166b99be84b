"""Where the jobs of a sweep run, and how many at once."""

from __future__ import annotations

from typing import Any

import pytest
from omegaconf import OmegaConf

from dsnot_exp.launch import machine, where
from dsnot_exp.launch.where import where_jobs_run


@pytest.mark.parametrize(
    ("launcher", "options", "accelerator", "expected"),
    [
        ("basic", {}, True, (True, False, 1, None)),
        ("joblib", {"n_jobs": 4}, False, (True, True, 4, 2)),
        ("joblib", {"n_jobs": -1}, True, (True, True, 2, 1)),  # two GPUs
        ("joblib", {"n_jobs": 9}, False, (True, True, 6, 1)),  # six jobs
        ("submitit_local", {"cpus_per_task": 3}, True, (True, True, 2, 3)),
        ("submitit_slurm", {"cpus_per_task": 3}, True, (False, True, 1, None)),
        ("ray", {}, False, (False, True, 1, None)),
    ],
)
def test_where_the_jobs_run(
    launcher: str, options: dict[str, int], accelerator: bool, expected: tuple[Any, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    for module in (where, machine):
        monkeypatch.setattr(module, "cores", lambda: 8)
    monkeypatch.setattr(where, "gpus", lambda: 2)
    choices = {"choices": {"hydra/launcher": launcher}}
    config = OmegaConf.create({"hydra": {"runtime": choices, "launcher": options}})
    found = where_jobs_run(config, 6, accelerator)
    assert (found.here, found.apart, found.at_once, found.threads) == expected
