"""The whole pipeline on the stand-in accelerator, in a process of its own (see test_device.py)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.standin.environment import ROOT, environ
from tests.support.command import Command, toy_arguments

CASES = Path(__file__).with_name("pipeline")
MEMORY = 5 * 2**29  # bytes; a model is whole on the device if 2 GiB are left


@pytest.mark.parametrize("cases", ["methods", "runs", "fake_cuda"])
def test_the_pipeline(cases: str) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    command.append(str(CASES / f"{cases}_cases.py"))
    done = subprocess.run(command, cwd=ROOT, env=environ(MEMORY), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_two_processes_with_a_device_each(command: Command, tmp_path: Path) -> None:
    toy = [*toy_arguments(tmp_path), "calib.min_tokens=8", "keep=none"]
    alone = command(*toy)
    assert alone.code == 0, alone.err
    together = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2",
        "-m", "dsnot_exp", *toy, f"hydra.run.dir={tmp_path}/together",
    ]  # fmt: skip
    environment = environ(MEMORY, devices=2) | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(together, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found, expected = json.loads((tmp_path / "together/result.json").read_text()), alone.result
    assert found["environment"]["device"].startswith("standin")
    assert found["environment"]["processes"] == 2
    assert found["sparsity"] == expected["sparsity"]
    for text, stages in found["metrics"]["perplexity"].items():
        assert stages == pytest.approx(expected["metrics"]["perplexity"][text], rel=1e-4)


@pytest.mark.parametrize(("name", "code"), [("standin", 2), ("auto", 0)])
def test_a_device_without_float64(name: str, code: int, tmp_path: Path) -> None:
    """As on Apple's GPUs: refused by name, and `auto` takes the CPU."""
    run = [sys.executable, "-m", "dsnot_exp", *toy_arguments(tmp_path), f"device={name}"]
    run += ["eval=none", f"hydra.run.dir={tmp_path}/run"]
    environment = environ(MEMORY, no_float64=True)
    done = subprocess.run(run, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    if code:
        assert done.stderr.startswith(f"dsnot_exp: device={name}: it has no float64 numbers")
    else:
        result = json.loads((tmp_path / "run/result.json").read_text())
        assert result["environment"]["device"].startswith("cpu")
