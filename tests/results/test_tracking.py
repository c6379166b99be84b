"""Trackers get each event once and in order, whatever happens to the run or to a tracker."""

from __future__ import annotations

import csv
import threading
from pathlib import Path
from typing import Any

import pytest

from dsnot_exp.results.tracking import tracking as module
from dsnot_exp.results.tracking.csv_file import CsvFile
from dsnot_exp.results.tracking.ledger import NAME, Ledger
from dsnot_exp.results.tracking.tracker import Begun, Event
from dsnot_exp.results.tracking.tracking import Tracking
from dsnot_exp.results.tracking.values import block_values, kind_of
from dsnot_exp.results.tracking.wandb_run import ROWS, rows_uploaded
from dsnot_exp.walk.record import BlockFit, Choice, LayerRecord, Solved
from dsnot_exp.walk.sparsified import Sparsified
from tests.support.command import Command, toy_arguments

ACCOUNT: dict[str, Any] = {"timing_s": {"load": 0.0, "total": 2.0}, "memory": {}, "resumed": 0}


class Memory:
    """Keeps what it is told. fails: the number of the event at which it raises"""

    def __init__(self, fails: int | None = None) -> None:
        self.fails, self.events, self.ends = fails, list[Event](), list[object]()

    def start(self, begun: Begun, earlier: list[Event]) -> None:
        self.events += earlier

    def log(self, event: Event) -> None:
        if event.number == self.fails:
            raise OSError("gone\nfor good")
        self.events.append(event)

    def finish(self, result: dict[str, Any], figure: Path | None) -> str:
        self.ends.append(result["status"])
        return "done"

    def crash(self, exit_code: int) -> None:
        self.ends.append(exit_code)


def tracked(folder: Path, *memories: Any, state: str | None = "state") -> Tracking:
    begun = Begun(folder, {}, "id")
    ledger = Ledger(None if state is None else folder / state, "hash")
    names = {f"t{number}": memory for number, memory in enumerate(memories)}
    return Tracking(names, begun, ledger, lambda: ACCOUNT)


def solved(block: int, *errors: float) -> Solved:
    names = [f"model.layers.{block}.mlp.experts.{n}.up" for n in range(len(errors))]
    return Solved([LayerRecord(n, 8, 4, 0, 0, e, e, 1) for n, e in zip(names, errors, strict=True)])


def test_kinds_of_matrices() -> None:
    assert kind_of("model.layers.3.mlp.experts.7.w1") == "mlp.experts.w1"
    assert kind_of("transformer.h.0.attn.c_attn") == "attn.c_attn"
    assert kind_of("lm_head") == "lm_head"


def test_the_values_of_a_block_are_gathered_by_kind() -> None:
    records = [
        LayerRecord("m.layers.0.mlp.experts.0.up", 8, 4, 3.0, 2.0, 0.4, 0.2, 64, 5, 3),
        LayerRecord("m.layers.0.mlp.experts.1.up", 24, 6, 1.0, 0.0, 0.2, 0.1, 64, 2, 4),
        LayerRecord("m.layers.0.attn.q", 8, 8),
    ]
    block = Solved(records, choice=Choice("m.layers.0", "20", {}))
    block.fit = BlockFit("m.layers.0", 0.5, 0.25, 4, 2)
    own = block_values("refined", block)
    assert own == pytest.approx({
        "error/mlp.experts.up": 0.15, "error_before/mlp.experts.up": 0.3,
        "expected_error/mlp.experts.up": 1.0, "expected_error_before/mlp.experts.up": 2.0,
        "layer_sparsity/mlp.experts.up": 10 / 32, "swaps/mlp.experts.up": 7,
        "cycles/mlp.experts.up": 4, "layer_sparsity/attn.q": 1.0, "swaps/attn.q": 0,
        "cycles/attn.q": 0, "max_cycles/chosen": 20.0, "block_reconstruction/error_before": 0.5,
        "block_reconstruction/error_after": 0.25, "block_reconstruction/chosen": 2,
    })  # fmt: skip
    block.choice = block.fit = None
    pruned = block_values("pruned", block)
    assert pruned.keys() == {
        "pruned/error/mlp.experts.up", "pruned/expected_error/mlp.experts.up",
        "pruned/layer_sparsity/mlp.experts.up", "pruned/layer_sparsity/attn.q",
    }  # fmt: skip


def test_an_event_comes_once_also_after_a_kill(tmp_path: Path) -> None:
    first, second = Memory(), Memory()
    tracking = tracked(tmp_path, first)
    tracking.measured("dense", "perplexity", "text", 2.5)
    tracking.block("refined", 0, solved(0, 0.5))
    tracking.block("refined", 0, solved(0, 0.5))
    tracking.crash(9)
    with (tmp_path / "state" / NAME).open("a") as file:
        file.write('{"number": 2, "stage": "ref')  # a kill cuts off the last line
    tracking = tracked(tmp_path, second)
    tracking.stage("dense", {"perplexity": {"text": 2.5}, "zero_shot": {"task": {"acc": 0.5}}})
    sparse = Sparsified()
    for index in range(3):
        sparse.add(solved(index, 0.5, 0.7))
    tracking.blocks("refined", sparse)
    assert tracking.finish({"status": "finished"}, None) == {"t0": "done"}
    assert first.events == second.events[:2]
    assert [event.number for event in second.events] == list(range(5))
    names = [name for event in second.events for name in event.values if "metrics" in name]
    assert names == ["metrics/perplexity/text/dense", "metrics/zero_shot/task/dense/acc"]
    blocks = [event.block for event in second.events if event.block is not None]
    assert blocks == [0, 1, 2]
    assert second.events[-1].account == {"timing_s/total": 2.0}
    assert (first.ends, second.ends) == ([9], ["finished"])


def test_the_events_of_other_code_or_of_no_state_do_not_count(tmp_path: Path) -> None:
    Ledger(tmp_path, "old").add(Event(0, "dense", None, {"a": 1.0}))
    assert Ledger(tmp_path, "old").events != []
    assert Ledger(tmp_path, "new").events == []
    Ledger(None, "new").add(Event(0, "dense", None, {"a": 1.0}))
    assert (tmp_path / NAME).read_text() == "new\n"


def test_a_tracker_that_fails_stops_neither_the_run_nor_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad, good = Memory(fails=1), Memory()
    tracking = tracked(tmp_path, bad, good)
    for index in range(4):
        tracking.block("refined", index, solved(index, 0.5))
    lines = tracking.finish({"status": "finished"}, None)
    assert lines == {"t0": "not logged: gone", "t1": "done"}
    assert len(good.events) == 4
    assert len(bad.events) == 1
    assert capsys.readouterr().out.count("warning   t0 not logged: gone") == 1


def test_the_run_waits_for_no_tracker_but_at_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stuck(Memory):
        def start(self, begun: Begun, earlier: list[Event]) -> None:
            never.wait()

    never = threading.Event()
    monkeypatch.setattr(module, "FINISH_S", 0.1)
    tracking = tracked(tmp_path, Stuck())
    tracking.block("refined", 0, solved(0, 0.5))  # returns
    lines = tracking.finish({"status": "finished"}, None)
    assert lines == {"t0": "not finished after 0 s; what it has written stays"}
    never.set()


def test_the_csv_file_goes_on(tmp_path: Path) -> None:
    for end in ("crash", "finish"):
        tracking = tracked(tmp_path, CsvFile())
        for index in range(2 if end == "crash" else 3):
            tracking.block("refined", index, solved(index, 0.5))
        getattr(tracking, end)(*([1] if end == "crash" else [{"status": "finished"}, None]))
    with (tmp_path / "progress.csv").open() as file:
        rows = list(csv.DictReader(file))
    errors = [row for row in rows if row["name"] == "error/mlp.experts.up"]
    assert [row["block"] for row in errors] == ["0", "1", "2"]
    assert {(row["stage"], row["seconds"], row["value"]) for row in errors} == {
        ("refined", "2.0", "0.5")
    }


def test_tensorboard_draws_blocks_against_their_index(command: Command, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    done = command(*toy_arguments(tmp_path), "track=[tensorboard,wandb]", "refine=none")
    assert done.code == 0, done.err
    assert f"tensorboard to look at it: tensorboard --logdir {done.folder}/tensorboard" in done.out
    events = EventAccumulator(str(done.folder / "tensorboard"))
    events.Reload()
    errors = events.Scalars("error/mlp.up_proj")
    assert [event.step for event in errors] == [0, 1, 2]
    for event, row in zip(errors, done.result["metrics"]["reconstruction"][5::7], strict=True):
        assert event.value == pytest.approx(row["relative_after"])
    assert [tag for tag in events.Tags()["scalars"] if tag.startswith("metrics/perplexity")]


def test_rows_that_were_uploaded_from_earlier_offline_folders(tmp_path: Path) -> None:
    begun = Begun(tmp_path, {}, "id")
    older, newer = (tmp_path / "wandb" / f"offline-run-2026010{day}-id" for day in (1, 2))
    older.mkdir(parents=True)
    assert rows_uploaded(begun, 3) == 0  # its process was killed after three events
    (older / "run-id.wandb.synced").touch()
    newer.mkdir()
    assert rows_uploaded(begun, 5) == 3
    (newer / "run-id.wandb.synced").touch()
    assert rows_uploaded(begun, 7) == 5
    assert [(folder / ROWS).read_text() for folder in (older, newer)] == ["3\n", "5\n"]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["track=[wandb,mlflow]"], "track=mlflow: choose from wandb, csv, tensorboard"),
        (
            ["track=[csv]", "wandb=online"],
            "wandb.mode=online: track=csv leaves W&B out; add wandb to track, or remove "
            "wandb=online",
        ),
        (
            [f"wandb.tags=[{'x' * 65}]"],
            f"wandb.tags={'x' * 65}: W&B takes 1 to 64 characters per tag; shorten it",
        ),
    ],
)
def test_wrong_trackers(command: Command, words: list[str], line: str) -> None:
    done = command(*words)
    assert (done.code, done.err) == (2, f"dsnot_exp: {line}\n")


def test_tensorboard_that_is_not_installed_names_the_command(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dsnot_exp.run.check_options.find_spec", lambda name: None)
    done = command("track=[tensorboard]")
    line = "track=tensorboard: not installed; run pip install 'dsnot_exp[tensorboard]'"
    assert (done.code, done.err) == (2, f"dsnot_exp: {line}\n")
