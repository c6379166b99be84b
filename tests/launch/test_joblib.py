"""Several processes on this machine: results, failures, Ctrl-C."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from dsnot_exp.launch import machine
from tests.launch.beside import compare, needs, start
from tests.support.command import Command
from tests.support.waiting import BOUND, until


@needs("joblib")
def test_joblib(command: Command, tmp_path: Path) -> None:
    words = ["sparsity=0.5,0.6,1.5", "hydra.launcher.n_jobs=2"]
    lists = ["prune=none,magnitude", "refine=none,dsnot", "refine.max_cycles=3,4"]
    threads = compare(command, tmp_path, "joblib", *words, lists=lists, runs=7, OMP_NUM_THREADS="")
    assert threads == max(1, machine.cores() // 2)


@needs("joblib")
def test_an_interrupted_sweep_exits_with_130(tmp_path: Path) -> None:
    words = ["wandb=disabled", "sparsity=0.5,0.6", "hydra/launcher=joblib"]
    running = start(tmp_path, *words, "hydra.launcher.n_jobs=2")
    logs = "outputs/runs/*/dsnot_exp.log"  # written to once everything is imported
    until(lambda: any(log.read_text() for log in tmp_path.glob(logs)), running)
    os.killpg(running.pid, signal.SIGINT)
    _, err = running.communicate(timeout=BOUND)
    assert running.returncode == 130
    assert "dsnot_exp: interrupted; finished work is kept" in err
