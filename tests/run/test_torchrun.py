"""Several processes find the masks and the metrics of one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from dsnot_exp.utils.distributed import Ranks
from tests.support.command import Command, toy_arguments
from tests.support.forks import Forks
from tests.support.waiting import ROOT, halt_at

SWEEP = ["-m", "save=true", "calib.min_tokens=8", "model.max_cycles=4"]


def torchrun(processes: int, folder: Path, *words: str) -> str:
    """What the processes print: the real thing, which takes a while to start."""
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone",
        "--nproc-per-node", str(processes), "-m", "dsnot_exp", *words,
    ]  # fmt: skip
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=environment, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def grouped(forks: Forks, processes: int, folder: Path, *words: str) -> str:
    """What processes print that work together as under torchrun."""
    group = forks.group(processes, folder, *words)
    assert [process.wait() for process in group] == [0] * processes, group[0].err
    return "".join(process.out for process in group)


def results(folder: Path) -> dict[str, dict[str, Any]]:
    return {f.parent.name: json.loads(f.read_text()) for f in folder.glob("*/result.json")}


@pytest.mark.parametrize(
    ("family", "processes", "methods", "near"),
    [
        ("llama", 3, ["prune=wanda,sparsegpt,magnitude", "eval.baselines=[dense,pruned]"], 1e-4),
        ("mixtral", 2, ["prune=sparsegpt"], 1e-4),
        # After 20 iterations with a threshold each, ALPS has made more of a rounding.
        ("llama", 2, ["prune=ria,alps", "refine=none"], 3e-3),
    ],
)
def test_more_processes_find_the_same_masks(
    family: str,
    processes: int,
    methods: list[str],
    near: float,
    command: Command,
    forks: Forks,
    tmp_path: Path,
) -> None:
    """Sums of shares are rounded otherwise, so that a tie may fall the other way: at most one
    entry in a thousand here (of ALPS in a hundred), and perplexities are `near`."""
    model = toy_arguments(tmp_path, family=family, num_hidden_layers=2)
    words = [*SWEEP, *methods, *model]
    count = len(methods[0].split(","))
    out = grouped(forks, processes, tmp_path, *words, "sweep=more")
    assert out.count(f"sweep     {count} of {count} runs finished") == 1  # the others are silent
    assert command(*words, "sweep=one", run="").code == 0
    alone, found = (results(tmp_path / "outputs" / which) for which in ("one", "more"))
    assert len(alone) == count
    assert set(found) == set(alone)
    for name, result in found.items():
        assert result["environment"]["processes"] == processes
        for key in ("notes", "sparsity"):
            assert result[key] == alone[name][key]
        for text, stages in result["metrics"]["perplexity"].items():
            assert stages == pytest.approx(alone[name]["metrics"]["perplexity"][text], rel=near)
        own, other = (r["metrics"]["reconstruction"][0] for r in (result, alone[name]))
        for key in ("expected_before", "relative_before", "relative_after"):
            assert own[key] == pytest.approx(other[key], rel=near)
        assert (
            unequal(*(tmp_path / "outputs" / which / name for which in ("one", "more")))
            <= 10 * near
        )


def unequal(a: Path, b: Path) -> float:
    """The fraction of entries that are zero in one run's model only."""
    one, other = (load_file(folder / "model" / "model.safetensors") for folder in (a, b))
    found = sum(int(((w == 0) != (other[key] == 0)).sum()) for key, w in one.items())
    return found / sum(w.numel() for w in one.values())


def test_a_killed_group_resumes(forks: Forks, tmp_path: Path) -> None:
    words = [*toy_arguments(tmp_path), "model.streaming=true"]
    run = [*words, "hydra.run.dir=run"]
    first, second = forks.group(2, tmp_path, *run, **halt_at("00001.json"))
    first.kill_at(tmp_path / "run" / "state" / "refined" / "00001.json")
    second.kill()
    assert not (tmp_path / "run" / "result.json").exists()
    out = grouped(forks, 2, tmp_path, *run)
    assert out.count("resuming at block") == out.count("resuming at block 2 of 3") == 1
    out = torchrun(2, tmp_path, *words, "hydra.run.dir=whole")
    assert out.count("\nwhole\n") == 1  # the second process is silent
    a, b = (json.loads((tmp_path / r / "result.json").read_text()) for r in ("whole", "run"))
    assert a["environment"]["processes"] == b["environment"]["processes"] == 2
    assert a["masks_sha256"] == b["masks_sha256"]


def test_an_error_is_printed_by_one_process_only(forks: Forks, tmp_path: Path) -> None:
    group = forks.group(2, tmp_path, *toy_arguments(tmp_path), "sparsity=1.5")
    assert [process.wait() for process in group] == [2, 2]
    assert "".join(process.err for process in group).count("dsnot_exp: sparsity=1.5") == 1


def test_shares_are_complete_and_differ_by_at_most_one() -> None:
    for count in range(12):
        for size in range(1, 6):
            shares = [Ranks(rank, size).share(count) for rank in range(size)]
            assert [i for s in shares for i in range(s.start, s.stop)] == list(range(count))
            lengths = [s.stop - s.start for s in shares]
            assert max(lengths) - min(lengths) <= 1


def test_a_single_process_exchanges_nothing() -> None:
    alone, part = Ranks(), torch.randn(3, 2)
    assert alone.concat(part) is part
    assert alone.sum(part) is part
    assert alone.gather(7) == [7]
