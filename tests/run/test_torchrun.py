"""Under torchrun: the masks and the figures of one process, found by several."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from dsnot_exp.utils.distributed import Ranks
from tests.support.command import Command, toy_arguments
from tests.support.waiting import halting, until

SWEEP = ["prune=wanda,sparsegpt,magnitude", "save=true", "calib.min_tokens=8"]
SWEEP += ["model.max_cycles=4", "eval.baselines=[dense,pruned]"]


def torchrun(processes: int, folder: Path, *words: str, **own: str) -> subprocess.Popen[str]:
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone",
        "--nproc-per-node", str(processes), "-m", "dsnot_exp", *words,
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.getcwd(), **own}
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command, cwd=folder, env=environment, text=True, stdout=pipe, stderr=pipe
    )


def results(folder: Path) -> dict[str, dict[str, Any]]:
    return {f.parent.name: json.loads(f.read_text()) for f in folder.glob("*/result.json")}


@pytest.mark.parametrize(("family", "processes"), [("llama", 3), ("mixtral", 2)])
def test_more_processes_find_the_same_masks(
    family: str, processes: int, command: Command, tmp_path: Path
) -> None:
    """Sums of shares are rounded otherwise, so that a tie may fall the other way: at most one
    entry in a thousand here, and perplexities to four digits."""
    words = toy_arguments(tmp_path, family=family)
    run = torchrun(processes, tmp_path, "-m", *words, *SWEEP, "sweep=more")
    assert command("-m", *words, *SWEEP, "sweep=one", run="").code == 0
    out, err = run.communicate()
    assert run.returncode == 0, err
    assert out.count("sweep     3 of 3 runs finished") == 1  # the others are silent
    alone, found = (results(tmp_path / "outputs" / which) for which in ("one", "more"))
    assert set(found) == set(alone)
    for name, result in found.items():
        assert result["environment"]["processes"] == processes
        for key in ("notes", "sparsity"):
            assert result[key] == alone[name][key]
        for text, stages in result["metrics"]["perplexity"].items():
            assert stages == pytest.approx(alone[name]["metrics"]["perplexity"][text], rel=1e-4)
        own, other = (r["metrics"]["reconstruction"][0] for r in (result, alone[name]))
        for key in ("expected_before", "relative_before", "relative_after"):
            assert own[key] == pytest.approx(other[key], rel=1e-4)
        assert unequal(*(tmp_path / "outputs" / which / name for which in ("one", "more"))) <= 1e-3


def unequal(a: Path, b: Path) -> float:
    """The fraction of entries that are zero in one run's model only."""
    one, other = (load_file(folder / "model" / "model.safetensors") for folder in (a, b))
    found = sum(int(((w == 0) != (other[key] == 0)).sum()) for key, w in one.items())
    return found / sum(w.numel() for w in one.values())


def test_a_killed_group_goes_on_where_it_was(tmp_path: Path) -> None:
    words = [*toy_arguments(tmp_path, num_hidden_layers=6), "model.streaming=true"]
    run = torchrun(2, tmp_path, *words, "hydra.run.dir=run", **halting("00003.json"))
    until(lambda: list((tmp_path / "run").rglob("00003.json")), run)
    subprocess.run(["pkill", "-9", "-P", str(run.pid)], check=False)
    run.send_signal(signal.SIGKILL)
    run.communicate()
    assert not (tmp_path / "run" / "result.json").exists()
    assert torchrun(2, tmp_path, *words, "hydra.run.dir=whole").wait() == 0
    again = torchrun(2, tmp_path, *words, "hydra.run.dir=run")
    out, err = again.communicate()
    assert again.returncode == 0, err
    assert out.count("resuming at block 4 of 6") == 1
    a, b = (json.loads((tmp_path / r / "result.json").read_text()) for r in ("whole", "run"))
    assert a["masks_sha256"] == b["masks_sha256"]


def test_what_makes_no_sense_is_said_once(tmp_path: Path) -> None:
    run = torchrun(2, tmp_path, *toy_arguments(tmp_path), "sparsity=1.5")
    _, err = run.communicate()
    assert run.returncode != 0
    assert err.count("dsnot_exp: sparsity=1.5") == 1


def test_shares_are_all_there_is_and_differ_by_one_at_most() -> None:
    for count in range(12):
        for size in range(1, 6):
            shares = [Ranks(rank, size).share(count) for rank in range(size)]
            assert [i for s in shares for i in range(s.start, s.stop)] == list(range(count))
            lengths = [s.stop - s.start for s in shares]
            assert max(lengths) - min(lengths) <= 1


def test_alone_nothing_is_exchanged() -> None:
    alone, part = Ranks(), torch.randn(3, 2)
    assert alone.concat(part) is part
    assert alone.sum(part) is part
    assert alone.gather(7) == [7]
