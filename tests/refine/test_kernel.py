"""The Triton kernel: interpreted on the CPU, in a process of its own, and when it is chosen."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dsnot_exp.refine import chip

CASES = Path(__file__).with_name("kernel_cases.py")
ROOT = CASES.parents[2]


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="no Triton here")
def test_the_kernel_equals_the_plain_version_in_every_bit() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(CASES)]
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_without_triton_nothing_imports_it() -> None:
    code = (
        "import os, sys; sys.modules['triton'] = None; os.environ['TRITON_INTERPRET'] = '1'\n"
        "import dsnot_exp.refine, dsnot_exp.plan, torch\n"
        "from dsnot_exp.refine import chip\n"
        "assert not chip.usable(torch.zeros(2, 2))"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="no Triton here")
def test_chosen_on_a_gpu_for_rows_that_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    assert not chip.usable(torch.empty(2, 8))
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert chip.usable(torch.empty(2, chip.WIDEST))
    assert not chip.usable(torch.empty(2, chip.WIDEST + 1))
