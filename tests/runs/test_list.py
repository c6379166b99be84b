"""python -m dsnot_exp.runs: which runs there are, what has become of them, filters and order."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from tests.report.folders import fill, result
from tests.runs.conftest import Runs

LOG = """\
2026-11-29 07:26:16,602 INFO dsnot_exp.run.job: command: python -m dsnot_exp sparsity=0.7
2026-11-29 07:26:16,603 INFO dsnot_exp.run.job: configuration: {'model': {'name': 'tinyworld'}, \
'prune': {'name': 'ria'}, 'sparsity': 0.7, 'pattern': 'unstructured'}
"""
FAILED = """\
2026-11-29 07:26:20,000 ERROR dsnot_exp.launch.task: the run failed: python -m dsnot_exp
Traceback (most recent call last):
  File "run.py", line 1, in run
"""


def names(text: str) -> list[str]:
    return [row["name"] for row in json.loads(text)]


@pytest.fixture
def three(tmp_path: Path) -> Path:
    times = {"timing_s": {"prune": 1.5, "refine": 2.5, "total": 9.0}}
    return fill(
        tmp_path,
        result(method="wanda", perplexity=12.5, sparsity=0.5, seed=1, **times),
        result(method="wanda+dsnot", perplexity={"dense": 5.5, "refined": 10.25}, sparsity=0.6),
        result(method="sparsegpt", perplexity=9.75, pattern="2:4", sparsity=0.5),
    )


def left(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / {"log": "dsnot_exp.log", "note": "error.txt"}[name]).write_text(text)
    return folder


def test_a_table_of_all_runs(three: Path, runs: Runs) -> None:
    printed = runs(three)
    assert (printed.code, printed.err) == (0, "")
    assert "all: model llama2-7b, state finished" in printed.out
    (row,) = [line.split() for line in printed.out.splitlines() if line.startswith("run-01")]
    assert row[:8] == ["run-01", "Wanda", "+", "DSnoT", "60", "%", "5.500", "10.250"]
    assert "2:4" in printed.out
    assert "these runs also differ in seed " in printed.out


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("prune=wanda", [0, 1]),
        ("prune.name=wanda,sparsegpt", [0, 1, 2]),
        ("prune=*and*", [0, 1]),
        ("prune!=wanda", [2]),
        ("refine=none", [0, 2]),
        ("timing_s.prune>1", [0]),
        ("time<10", [0]),
        ("sparsity>=0.6", [1]),
        ("sparsity<0.6", [0, 2]),
        ("config.sparsity=0.60", [1]),
        ("pattern=2:4", [2]),
        ("perplexity.wikitext2.refined<=10.25", [1, 2]),
        ("perplexity.wikitext2.dense>0", [1]),  # the others have none
        ("method=wanda+dsnot", [1]),
        ("method=Wanda + DSnoT", [1]),  # as it is printed
        ("method!=Wanda", [1, 2]),
        ("eval.perplexity=wikitext2", [0, 1, 2]),  # a list
        ("model.path=null", [0, 1, 2]),
        ("date>2020-01-01", [0, 1, 2]),
        ("date<2020-01-01", []),
    ],
)
def test_filters(three: Path, runs: Runs, condition: str, expected: list[int]) -> None:
    printed = runs(three, "--json", "--filter", condition)
    assert names(printed.out) == [f"run-0{i}" for i in expected]


def test_filters_are_all_to_hold_and_stand_anywhere(three: Path, runs: Runs) -> None:
    printed = runs("--filter", "prune=wanda", "--json", "list", "--filter=seed=1", three)
    assert names(printed.out) == ["run-00"]


def test_none_may_match(three: Path, runs: Runs) -> None:
    printed = runs(three, "--filter", "seed=7", "--sort", "perplexity.wikitext2.refined")
    assert (printed.code, printed.err) == (0, "")
    assert printed.out == f"none of the 3 runs in {three} matches\n"


def test_runs_are_sorted_with_those_without_a_value_last(three: Path, runs: Runs) -> None:
    key = "perplexity.wikitext2.refined"
    assert names(runs(three, "--json", "--sort", key).out) == ["run-02", "run-01", "run-00"]
    assert names(runs(three, "--json", "--sort", f"-{key}").out) == ["run-00", "run-01", "run-02"]
    down = runs(three, "--json", "--sort", "-perplexity.wikitext2.dense").out
    assert names(down) == ["run-01", "run-00", "run-02"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--filter", "sparsty>1"], "--filter sparsty>1: no run has a field sparsty; did you mean"),
        (["--filter", "sparsity"], "expected KEY=VALUE"),
        (["--filter", "sparsity>high"], "> compares numbers, and high is none"),
        (["--sort", "perplexty"], "--sort perplexty: no run has a field"),
        (["--columns", "seed,sed"], "no run has a field sed; did you mean seed?"),
        (["--json", "--csv"], "choose one"),
        (["--yes"], "--yes: only with clean, not with list"),
        (["shw", "x"], "did you mean show?"),
        (["show"], "show: needs one run, and 0 are given"),
        (["diff", "a"], "diff: needs two runs, and 1 are given"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    three: Path, runs: Runs, words: list[str], told: str
) -> None:
    printed = runs(three, *words)
    assert (printed.code, printed.out) == (2, "")
    assert printed.err.startswith("dsnot_exp: ")
    assert printed.err.count("\n") == 1
    assert told in printed.err


def test_a_folder_that_is_missing_or_empty_is_refused(tmp_path: Path, runs: Runs) -> None:
    assert "no such folder" in runs(tmp_path / "none").err
    assert "holds no run" in runs(tmp_path).err


def test_columns_and_formats(three: Path, runs: Runs) -> None:
    wanted = ["--columns", "name,seed,perplexity.wikitext2.refined"]
    rows = list(csv.reader(io.StringIO(runs(three, "--csv", *wanted).out)))
    assert rows[0] == ["name", "config.seed", "metrics.perplexity.wikitext2.refined"]
    assert rows[1:] == [["run-00", "1", "12.5"], ["run-01", "0", "10.25"], ["run-02", "0", "9.75"]]
    (first, *_) = json.loads(runs(three, "--json", *wanted).out)
    assert first == {
        "name": "run-00",
        "config.seed": 1,
        "metrics.perplexity.wikitext2.refined": 12.5,
    }
    assert "12.500" in runs(three, *wanted).out


def test_what_has_become_of_each_run(tmp_path: Path, runs: Runs) -> None:
    fill(tmp_path, result(), result(status="incomplete"), "{")
    left(tmp_path / "note", log=LOG, note="no network\n")
    left(tmp_path / "refused-1", note="sparsity=1.2: expected a fraction\n")
    left(tmp_path / "raised", log=LOG + FAILED + "dsnot_exp.utils.errors.RunError: NaN in k_proj\n")
    left(tmp_path / "again", log=LOG + FAILED + "ValueError: first\n" + LOG)
    left(tmp_path / "stopped", log=LOG + FAILED + "KeyboardInterrupt\n")
    printed = runs(tmp_path, "--json")
    rows = {row["name"]: row for row in json.loads(printed.out)}
    assert printed.code == 1  # a result cannot be read
    assert {name: row["state"] for name, row in rows.items()} == {
        "run-00": "finished", "run-01": "incomplete", "run-02": "unreadable", "note": "failed",
        "refused-1": "refused", "raised": "failed", "again": "unfinished", "stopped": "unfinished",
    }  # fmt: skip
    assert rows["note"]["error"] == "no network"
    assert rows["raised"]["error"] == "NaN in k_proj"
    assert rows["refused-1"]["error"] == "sparsity=1.2: expected a fraction"
    assert rows["stopped"]["method"] == "ria"  # its log states the options
    assert names(runs(tmp_path, "--json", "--filter", "prune=ria", "--filter", "state=failed").out)


def test_a_run_whose_lock_is_held_is_running(three: Path, runs: Runs) -> None:
    with FileLock(three / "run-01" / ".lock"):
        code = [sys.executable, "-m", "dsnot_exp.runs", str(three), "--json"]
        done = subprocess.run(code, capture_output=True, text=True, check=True)
    states = {row["name"]: row["state"] for row in json.loads(done.stdout)}
    assert states == {"run-00": "finished", "run-01": "running", "run-02": "finished"}
    assert "running" not in runs(three).out  # the lock is released
    assert not (three / "run-00" / ".lock").exists()  # looking creates none


@pytest.mark.parametrize("width", [40, 79])
def test_a_narrow_terminal_shows_every_value(
    three: Path, runs: Runs, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    wide = runs(three).out
    monkeypatch.setenv("COLUMNS", str(width))
    narrow = runs(three).out
    table = [line for line in narrow.splitlines() if not line.startswith(("these", "all"))]
    assert max(map(len, table)) <= width
    for word in ("10.250", "9.750", "Wanda + DSnoT", "2:4", "SparseGPT"):
        assert word in wide
        assert word in narrow


def test_means_of_different_tasks_are_different_columns(tmp_path: Path, runs: Runs) -> None:
    def scores(*tasks: str) -> dict[str, Any]:
        return {task: {"refined": {"acc": 0.5 + 0.1 * i}} for i, task in enumerate(tasks)}

    fill(tmp_path, result(zero_shot=scores("rte", "boolq")), result(zero_shot=scores("rte")))
    printed = runs(tmp_path).out
    assert "boolq+rte" in printed
    rows = json.loads(runs(tmp_path, "--json").out)
    assert [row["accuracy.refined"] for row in rows] == [0.55, 0.5]
    assert "55.0 %" in printed


def test_a_failed_task_leaves_no_mean(tmp_path: Path, runs: Runs) -> None:
    part = result(zero_shot={"rte": {"refined": {"acc": 0.5}}}, status="incomplete")
    fill(tmp_path, part | {"failed": {"boolq": "no network"}})
    (row,) = json.loads(runs(tmp_path, "--json").out)
    assert "accuracy.refined" not in row
    assert row["error"] == "boolq: no network"
