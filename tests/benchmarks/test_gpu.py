"""The benchmark of a GPU, as a dry run on the CPU: what it writes, keeps and leaves out."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from dsnot_exp.utils.errors import RequestError
from tests.benchmarks.gpu import card, command, exact, run
from tests.benchmarks.gpu.bench import Bench, Row, Subject
from tests.benchmarks.gpu.options import parser
from tests.benchmarks.gpu.page import page
from tests.benchmarks.gpu.work import Rates, Work, of_method

FEW = ("card/launches", "whole/floor", "whole/wanda+dsnot", "streamed/floor")


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Of a call with a few subjects."""
    folder = tmp_path_factory.mktemp("gpu")
    assert call(folder, *(f"--only={name}" for name in FEW)) == 0
    return read(folder)


def call(folder: Path, *words: str) -> int:
    options = parser().parse_args(["--tiny", "--device=cpu", f"--out={folder}", *words])
    return command.measured(options)


def read(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "gpu.json").read_text())
    return found


def with_subjects(monkeypatch: pytest.MonkeyPatch, **runs: Callable[[Bench], list[Row]]) -> None:
    subjects = [Subject(f"card/{name}", run) for name, run in runs.items()]
    monkeypatch.setattr(command, "subjects", lambda bench: subjects)


def fine(bench: Bench) -> list[Row]:
    return [{"what": "launch", "seconds": [1.0], "median": 1.0}]


def test_every_measurement_has_its_parameters_seconds_and_memory(record: dict[str, Any]) -> None:
    assert list(record["measured"]) == [name for name in record["subjects"] if name in FEW]
    (row,) = record["measured"]["whole/wanda+dsnot"]["rows"]
    assert (row["blocks"], row["of"], row["sequences"], row["tokens"]) == (3, 4, 4, 64)
    assert len(row["seconds"]) == len(row["whole_seconds"]) == len(row["passes"]) == 2
    assert row["phases"]["prune"] > 0
    assert row["phases"]["refine"] > 0
    assert record["measured"]["whole/wanda+dsnot"]["peak_rss_bytes"] > 1 << 26
    assert record["running"] is None
    assert record["failed"] == record["refused"] == record["skipped"] == {}
    assert {"device", "processor", "driver"} <= record["machine"].keys()


def test_the_seconds_of_a_whole_model_are_marked_as_computed(record: dict[str, Any]) -> None:
    (row,) = record["measured"]["whole/floor"]["rows"]
    whole, middle = sorted(row["whole_seconds"]), row["median"]
    assert row["computed_seconds"] == pytest.approx(sum(whole) / 2 + (4 - 3) * middle)
    middles = [blocks[1]["all"] for blocks in row["passes"]]
    assert middle == pytest.approx(sum(middles) / 2)
    for blocks, seconds in zip(row["passes"], row["whole_seconds"], strict=True):
        assert sum(block["all"] for block in blocks) <= seconds  # each block's own, and no sum
    text = page(record)
    assert "all blocks, computed, s" in text
    assert "**computed, not measured**" in text
    assert "3 of 4 blocks, 4 x 64 random tokens" in text
    assert "**A dry run on tiny shapes.**" in text
    assert "Not measured: `card/products`, `card/copies`," in text


def test_entries_that_differ_from_the_cpu_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the device had pruned one weight more in the second block."""
    made = list[Any]()

    def of_blocks(bench: Bench, method: str, *_: Any) -> list[dict[str, torch.Tensor]]:
        made.append(method)
        return [{"q": torch.tensor([True, False])}, {"q": torch.tensor([True, len(made) % 2 == 0])}]

    monkeypatch.setattr(exact, "of_blocks", of_blocks)
    bench = Bench(torch.device("cpu"), command.TINY, tmp_path, deadline=0)
    rows = exact.masks("float32", bench)
    assert [row["method"] for row in rows] == ["wanda", "wanda+dsnot", "sparsegpt"]
    assert {(row["unequal"], row["entries"]) for row in rows} == {(1, 4)}
    assert {(row["unequal_first_block"], row["entries_first_block"]) for row in rows} == {(0, 2)}


def test_without_a_kernel_there_is_no_figure_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exact.backend, "kernel", lambda device, dtype: "torch")
    assert call(tmp_path, "--only=kernel/*") == 0
    assert "| as tensor operations | refused: no kernel runs here" in (
        tmp_path / "gpu.md"
    ).read_text("utf-8")


def test_a_second_call_measures_only_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = list[str]()

    def counted(name: str) -> Callable[[Bench], list[Row]]:
        return lambda bench: calls.append(name) or fine(bench)

    with_subjects(monkeypatch, one=counted("one"), two=counted("two"))
    assert call(tmp_path, "--only=card/one") == 0
    assert call(tmp_path) == 0
    assert calls == ["one", "two"]
    assert list(read(tmp_path)["measured"]) == ["card/one", "card/two"]
    assert call(tmp_path, "--again", "--only=card/two") == 0
    assert list(read(tmp_path)["measured"]) == ["card/two"]


def test_figures_of_other_options_are_not_mixed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_subjects(monkeypatch, one=fine)
    call(tmp_path)
    with pytest.raises(RequestError, match=r"another option \(sparsity 0.6, now 0.5\)"):
        call(tmp_path, "--sparsity=0.5")
    monkeypatch.setattr(command.machine, "machine", lambda device: {"device": "another card"})
    with pytest.raises(RequestError, match=r"another machine .*; choose another folder"):
        call(tmp_path)


def test_a_subject_that_runs_out_of_memory_becomes_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(bench: Bench) -> list[Row]:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB.\nMore.")

    with_subjects(monkeypatch, large=exhausted, small=fine)
    assert call(tmp_path) == 1
    assert list(read(tmp_path)["measured"]) == ["card/small"]
    why = "no figure: out of memory (CUDA out of memory. Tried to allocate 9 GiB.)"
    assert f"| large | {why} |" in (tmp_path / "gpu.md").read_text()
    with_subjects(monkeypatch, large=fine, small=fine)
    assert call(tmp_path) == 0  # tried again
    assert read(tmp_path)["failed"] == {}


def test_what_no_longer_fits_is_skipped_with_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    long = Subject("card/long", fine, lambda bench: Work(seconds=1e6))
    short = Subject("card/short", fine)
    monkeypatch.setattr(command, "subjects", lambda bench: [long, short])
    assert call(tmp_path) == 0
    found = read(tmp_path)
    assert list(found["measured"]) == ["card/short"]
    assert found["skipped"]["card/long"].startswith("takes about 1000000 s, and ")
    assert "card/long: skipped: takes about 1000000 s" in capsys.readouterr().err
    assert "| long | skipped: takes about 1000000 s" in (tmp_path / "gpu.md").read_text()


def test_a_pass_that_overruns_stops_after_a_block(tmp_path: Path) -> None:
    """Its forecast was too low: it becomes a line, and the next call measures it."""
    bench = Bench(torch.device("cpu"), command.TINY, tmp_path, deadline=0, sequences=4)
    floor = next(one for one in command.subjects(bench) if one.name == "whole/floor")
    with pytest.raises(run.OutOfTime, match="the time was over after 1 of 3 blocks"):
        floor.run(bench)


def test_a_killed_subject_comes_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may hang: what can be measured is measured first."""

    def killed(bench: Bench) -> list[Row]:
        raise KeyboardInterrupt

    with_subjects(monkeypatch, one=killed, two=fine)
    with pytest.raises(KeyboardInterrupt):
        call(tmp_path)
    assert read(tmp_path)["running"] == "card/one"
    assert "The process was in `card/one`" in (tmp_path / "gpu.md").read_text()
    with_subjects(monkeypatch, one=fine, two=fine)
    call(tmp_path)
    assert list(read(tmp_path)["measured"]) == ["card/two", "card/one"]


def test_after_a_lost_device_a_new_process_measures_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(bench: Bench) -> list[Row]:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    def lost(*_: Any, **__: Any) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    words = list[str]()
    with_subjects(monkeypatch, one=broken, two=fine)
    monkeypatch.setattr(run.accelerator, "release_memory", lost)
    monkeypatch.setattr(command.os, "execv", lambda program, argv: words.extend(argv))
    monkeypatch.setattr("sys.argv", ["gpu", "--tiny", "--again"])
    call(tmp_path)
    assert words[1:] == ["-m", "tests.benchmarks.gpu", "--tiny", "--leave=card/one"]
    assert read(tmp_path)["failed"]["card/one"].startswith("RuntimeError: CUDA error: an illegal")


def test_fewer_sequences_on_a_slow_card(tmp_path: Path) -> None:
    bench = Bench(torch.device("cpu"), command.FULL, tmp_path, deadline=0)
    bench = replace(bench, deadline=bench.deadline + 600 - bench.left)
    every = command.subjects(bench)
    chosen = []
    for products in (7e14, 7e13):
        bench.rates = Rates(products, products / 15, 1e12, 1e-5, 1e9)
        record = command.Record(tmp_path, {"sequences": None})
        run.settle_sequences(bench, record, every)
        chosen.append(bench.sequences)
    assert chosen[0] == 128
    assert chosen[1] in (16, 32, 64)


def test_the_rates_of_the_card_are_those_of_its_rows() -> None:
    measured: dict[str, list[Row]] = {
        "card/products": [
            {"what": "bfloat16", "operations": 8e12, "median": 0.01},
            {"what": "float32", "operations": 8e12, "median": 0.2},
        ],
        "card/launches": [{"what": "launch of a small operation", "median": 5e-6}],
    }
    found, unknown = card.rates(measured, "bfloat16"), Rates()
    assert (found.products, found.single) == pytest.approx((8e14, 4e13))
    assert found.launch == pytest.approx(5e-6)
    assert (found.copies, found.disk) == (unknown.copies, unknown.disk)


def test_a_forecast_grows_with_the_tokens_and_the_method() -> None:
    def seconds(method: str, sequences: int = 128) -> float:
        return of_method(method, "7b", sequences, 2048).on(Rates())

    assert seconds("floor", 128) > 1.9 * seconds("floor", 64)
    assert seconds("floor") == seconds("wanda+dsnot")
    assert seconds("wanda") < seconds("sparsegpt") < seconds("alps+target+cg")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--layers=2"], "--layers 2: 3 or more"),
        (["--sequences=0"], "--sequences 0: 1 or more"),
        (["--only=hole/*"], r"--only hole/\*: no such subject; --list prints them"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path: Path, words: list[str], said: str) -> None:
    with pytest.raises(RequestError, match=said):
        call(tmp_path, *words)


def test_without_an_accelerator_only_a_dry_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "device_of", lambda name: torch.device("cpu"))
    with pytest.raises(RequestError, match="no accelerator that torch can use; --tiny is a dry"):
        command.measured(parser().parse_args([]))
