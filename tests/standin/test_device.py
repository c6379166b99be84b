"""The stand-in accelerator keeps the rules of a real one, in processes of its own: where it is
registered, `device=auto` means it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch

from tests.standin.environment import ROOT, environ

CASES = Path(__file__).with_name("cases")
MEMORY = 64 * 2**20  # bytes of each device


def run(*arguments: str, no_float64: bool = False) -> str:
    environment = environ(MEMORY, devices=2, no_float64=no_float64)
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_rules_of_a_device() -> None:
    files = [str(file) for file in sorted(CASES.glob("*_cases.py"))]
    assert len(files) == 5
    run("-m", "pytest", "-q", "-p", "no:cacheprovider", *files)


def test_collectives() -> None:
    told = run("-m", "torch.distributed.run", "--nproc-per-node=2", str(CASES / "ranks.py"))
    assert sorted(told.splitlines()[-2:]) == ["rank 0 is done", "rank 1 is done"]


def test_float64_is_refused_where_it_is_asked_for() -> None:
    code = """
import torch
for act in (
    lambda: torch.zeros(2, dtype=torch.float64, device="standin"),
    lambda: torch.zeros(2, device="standin").double(),
    lambda: torch.zeros(2).double().to("standin"),
    lambda: torch.zeros(2, device="standin").sum(dtype=torch.float64),
    lambda: torch.zeros(2, device="standin").histc(2).to(torch.float64),
):
    try:
        act()
    except TypeError as error:
        assert "does not support float64" in str(error)
    else:
        raise AssertionError("float64 was made")
assert torch.zeros(2, device="standin").sum().item() == 0
"""
    run("-c", code, no_float64=True)


def test_the_device_is_not_registered_here() -> None:
    assert not hasattr(torch, "standin")
