"""Dense, pruned and refined are measured by default, each of them no more often than it must."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import pytest

from dsnot_exp.run import experiment
from dsnot_exp.walk.sequences import Sequences
from tests.support.command import Command, Outcome, toy_arguments


@pytest.fixture
def entered(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of sequences of each walk that began with a forward."""
    found: list[int] = []
    enter = Sequences.enter

    def noted(self: Sequences) -> None:
        if self.count:
            found.append(self.count)
        enter(self)

    monkeypatch.setattr(Sequences, "enter", noted)
    return found


def default(folder: Path) -> list[str]:
    """The toy command with the default stages and budget."""
    words = toy_arguments(folder)
    return [word for word in words if not word.startswith(("eval.baselines", "model.max_cycles"))]


def stages(done: Outcome) -> dict[str, float]:
    assert done.code == 0, done.err
    (found,) = done.result["metrics"]["perplexity"].values()
    return found


def test_runs_with_the_same_pruner_measure_the_pruned_model_once(
    command: Command, tmp_path: Path, entered: list[int]
) -> None:
    words = [*default(tmp_path), "calib.samples=6"]
    first = command(*words, "refine.max_cycles=5", run="a")
    assert list(stages(first)) == ["dense", "pruned", "refined"]
    assert entered == [6, 6]
    assert first.result["reused_stages"] == []
    other = command(*words, "refine=dsnot_official", run="b")
    assert entered == [6, 6, 6]
    assert other.result["reused_stages"] == ["pruned"]
    for changed in (["seed=1"], ["sparsity=0.6"], ["calib.samples=5"], ["rerun=true"]):
        before = len(entered)
        done = command(*words, "refine=dsnot_official", *changed, run=f"c{before}")
        assert len(entered) == before + 2
        assert done.result["reused_stages"] == []
    assert stages(other)["pruned"] == stages(first)["pruned"]


def test_a_run_without_refinement_measures_it_for_the_others(
    command: Command, tmp_path: Path, entered: list[int]
) -> None:
    words = [*default(tmp_path), "calib.samples=6"]
    alone = command(*words, "refine=none", run="a")
    assert stages(alone)["pruned"] == stages(alone)["refined"]
    refined = command(*words, "refine.max_cycles=2", run="b")
    assert entered == [6, 6]
    assert stages(refined)["pruned"] == stages(alone)["refined"]


@pytest.mark.parametrize(
    ("options", "walks"),
    [(["eval=none", "eval.perplexity=[]"], 1), (["eval.baselines=[dense]"], 1),
     (["prune=magnitude"], 1), (["prune=none"], 0)],
)  # fmt: skip
def test_the_pruned_model_costs_a_second_walk_only_where_it_must(
    options: list[str], walks: int, command: Command, tmp_path: Path, entered: list[int]
) -> None:
    done = command(*default(tmp_path), "calib.samples=6", *options)
    assert done.code == 0, done.err
    assert len(entered) == walks


def test_the_budget_is_chosen_on_held_out_sequences_and_recorded(
    command: Command, tmp_path: Path
) -> None:
    words = [*default(tmp_path), "calib.samples=5"]
    done = command(*words, "calib.held_out=2", run="a")
    assert stages(done)
    choices = done.result["metrics"]["max_cycles"]
    assert [choice["block"] for choice in choices] == [f"model.layers.{i}" for i in range(3)]
    for choice in choices:
        assert set(choice["errors"]) == {"0", "1", "2", "5", "20", "50"}
        assert choice["errors"][choice["chosen"]] == min(choice["errors"].values())
    assert done.result["data"]["calibration"]["held_out"] == 2
    assert done.result["data"]["calibration"]["sequences"] == 5
    assert "cycles    chosen per block" in done.out
    fixed = command(*words, "refine.max_cycles=5", run="b").result
    assert fixed["metrics"]["max_cycles"] == []
    assert "held_out" not in fixed["data"]["calibration"]
    for result in (done.result, fixed):
        tokens = result["data"]["calibration"]["tokens_sha256"]
        assert tokens == fixed["data"]["calibration"]["tokens_sha256"]


def test_a_result_records_what_its_rounding_depends_on(command: Command, tmp_path: Path) -> None:
    words = [*toy_arguments(tmp_path), "calib.batch_size=3", "eval.batch_size=2"]
    found = command(*words).result["environment"]
    assert (found["calib_batch"], found["eval_batch"]) == (3, 2)
    assert found["dsnot_kernel"] in ("c", "torch")
    assert found["threads"] == 1


def test_where_refinement_hurts_the_result_and_the_last_lines_say_so(
    command: Command, tmp_path: Path
) -> None:
    told = []
    words = [*toy_arguments(tmp_path, seed=3), "sparsity=0.8", "eval.baselines=[pruned]"]
    for cycles in (0, 50):
        done = command(*words, f"model.max_cycles={cycles}", "refine.grow=random", run=f"{cycles}")
        values = stages(done)
        told.append(any("refined model is worse" in line for line in done.result["warnings"]))
        assert told[-1] == (values["refined"] > values["pruned"])
        assert told[-1] == ("warning   the refined model is worse" in done.out)
    assert told == [False, True]


def test_no_two_models_are_in_memory_at_once(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[weakref.ref[Any]] = []
    load = experiment.open_for

    def noted(*arguments: Any) -> Any:
        gc.collect()
        assert [model for model in opened if model() is not None] == []
        placed = load(*arguments)
        opened.append(weakref.ref(placed.model))
        return placed

    monkeypatch.setattr(experiment, "open_for", noted)
    stages(command(*default(tmp_path), "refine.max_cycles=5"))
    assert len(opened) == 2
