"""Kept sparse models with several processes: killed ones, waiting ones, and groups."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import Command, toy_arguments
from tests.support.forks import Forks
from tests.support.waiting import halt_at, until

WAITS = "another process is making the same sparse model"


def result(folder: Path, run: str) -> dict[str, Any]:
    return json.loads((folder / run / "result.json").read_text())


def left_over(folder: Path) -> list[str]:
    return [p.name for p in (folder / "outputs" / "sparse").iterdir() if ".new-" in p.name]


# The journal writes masks of the same name; the kept ones come first.
@pytest.mark.parametrize("at", ["masks/00001.safetensors", "weights/00001.safetensors",
                                "sparse.json"])  # fmt: skip
def test_a_run_killed_between_files_leaves_none_or_a_whole_model(
    at: str, forks: Forks, command: Command, tmp_path: Path
) -> None:
    words = [*toy_arguments(tmp_path), "prune=sparsegpt", "keep=weights"]
    run = forks.start(tmp_path, *words, "hydra.run.dir=run", **halt_at(at))
    until(lambda: any((tmp_path / "outputs" / "sparse").glob(f".*.new-*/{at}")) or run.ended())
    run.kill()
    assert len(left_over(tmp_path)) == 1
    assert not list((tmp_path / "outputs" / "sparse").glob("[!.]*"))
    again = command(*words)
    assert again.code == 0, again.err
    # The first block may still have been on its way to the state when the run was killed.
    assert again.result["resumed"] == 1 or at.startswith("masks")
    assert again.result["reused_stages"] == []
    assert left_over(tmp_path) == []
    other = command(*words, "eval.seqlen=12", run="other").result
    assert other["reused_stages"] == ["sparse"]
    apart = command(*words, "out=apart", run="apart").result
    assert apart["masks_sha256"] == again.result["masks_sha256"] == other["masks_sha256"]
    assert apart["metrics"] == again.result["metrics"]


def test_a_replacement_that_is_killed_between_its_two_renames_is_undone(
    command: Command, tmp_path: Path
) -> None:
    words = toy_arguments(tmp_path)
    first = command(*words)
    store = first.folder / first.result["masks"]["folder"]
    store.rename(store.parent / f".{store.name}.new-old")
    assert command(*words, "eval.seqlen=12", run="b").result["reused_stages"] == ["sparse"]


def test_the_second_of_two_processes_waits_and_takes_the_model(
    forks: Forks, tmp_path: Path
) -> None:
    words = toy_arguments(tmp_path)
    one = forks.start(tmp_path, *words, "hydra.run.dir=one", **halt_at("masks/00001.safetensors"))
    until(lambda: any((tmp_path / "outputs").glob("sparse/.*.new-*/masks/00001*")) or one.ended())
    lengths = ("11", "12")
    others = [forks.start(tmp_path, *words, f"eval.seqlen={n}", f"hydra.run.dir={n}")
              for n in lengths]  # fmt: skip
    for process in others:
        until(lambda process=process: WAITS in process.out or process.ended())
        assert not process.ended(), process.err
    one.kill()  # one of those that wait takes over
    assert [process.wait() for process in others] == [0, 0], [p.err for p in others]
    found = [result(tmp_path, n) for n in lengths]
    assert sorted(r["reused_stages"] for r in found) == [[], ["sparse"]]
    assert found[0]["masks_sha256"] == found[1]["masks_sha256"]
    assert left_over(tmp_path) == []


def test_a_group_of_processes_takes_what_a_group_has_kept(
    forks: Forks, command: Command, tmp_path: Path
) -> None:
    words = [*toy_arguments(tmp_path, family="mixtral"), "eval.baselines=[pruned]",
             "calib.min_tokens=8", "prune=sparsegpt", "keep=weights"]  # fmt: skip
    for run, more in (("a", "seed=0"), ("b", "eval.seqlen=12"), ("c", "model.streaming=true")):
        given = [*words, more, f"hydra.run.dir={run}"]
        group = forks.group(2, tmp_path, *given)
        assert [process.wait() for process in group] == [0, 0], group[0].err
        assert (WAITS in group[0].out) is False
    first, second, streamed = (result(tmp_path, run) for run in ("a", "b", "c"))
    assert first["reused_stages"] == []
    assert second["reused_stages"] == ["sparse"]
    assert "sparse" in streamed["reused_stages"]
    assert first["masks_sha256"] == second["masks_sha256"] == streamed["masks_sha256"]
    alone = command(*words, "eval.seqlen=12", run="alone")
    assert alone.code == 0, alone.err
    assert "was made with another number of processes" in alone.out
    assert alone.result["reused_stages"] == []
    stages = alone.result["metrics"]["perplexity"][f"{tmp_path}/test.safetensors"]
    assert second["metrics"]["perplexity"][f"{tmp_path}/test.safetensors"] == pytest.approx(
        stages, rel=1e-3
    )
