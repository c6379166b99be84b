"""What stands in a cell: ours, what was published, the difference, or why nothing does."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.report.folders import Report, fill, result

Command = Callable[[Path], Report]


def test_ours_the_published_and_the_difference(tmp_path: Path, report: Command) -> None:
    runs = [
        result("llama2-7b", "magnitude", {"dense": 5.474, "refined": 1924.7}, sweep="table1"),
        result("opt-13b", "magnitude", 1.234e6, sweep="table1"),
        result("llama2-7b", "wanda", 10.791, sweep="table1"),
        result("llama2-7b", "wanda+dsnot", 10.5551, sweep="table1"),
    ]
    table = report(fill(tmp_path / "any", *runs)).csv()
    shown = table.loc[:, table.columns.str.startswith("llama2-7b")]
    parts = [name.removeprefix("llama2-7b").strip() for name in shown.columns]
    assert parts == ["", "published", "difference", "versus"]
    gain = float(shown.loc["wanda+dsnot", "llama2-7b versus"])
    assert gain == pytest.approx(10.5551 - 10.791, rel=1e-12)
    assert list(shown.loc[["dense", "wanda"], "llama2-7b versus"]) == ["", ""]
    for method, ours, published in (
        ("dense", 5.474, "5.47"),
        ("magnitude", 1924.7, "6.9e3"),
        ("wanda", 10.791, "10.79"),
        ("wanda+dsnot", 10.5551, "10.59"),
    ):
        assert float(shown.loc[method, "llama2-7b"]) == ours
        assert shown.loc[method, "llama2-7b published"] == published
        gap = float(shown.loc[method, "llama2-7b difference"])
        assert gap == pytest.approx(ours - float(published), rel=1e-12)
    assert float(table.loc["magnitude", "opt-13b difference"]) == pytest.approx(1.234e6 - 1.1e6)


def test_the_papers_layout_with_words_where_nothing_was_run(
    tmp_path: Path, report: Command
) -> None:
    broken = result("llama-13b", "wanda", sweep="table1", status="incomplete")
    unmeasured = result("llama-30b", "wanda", sweep="table1")
    done = result("llama-7b", "wanda", 10.7, sweep="table1")
    rows = report(fill(tmp_path / "table1", done, broken, unmeasured)).rows()
    assert rows[0] == [
        "method", "llama-7b", "llama-13b", "llama-30b", "llama-65b", "llama2-7b", "llama2-13b",
        "llama2-70b", "vicuna-13b", "opt-13b",
    ]  # fmt: skip
    assert [row[0] for row in rows[1:]] == [
        "Dense", "Magnitude", "Magnitude + DSnoT", "SparseGPT", "SparseGPT + DSnoT", "Wanda",
        "Wanda + DSnoT",
    ]  # fmt: skip
    wanda = rows[6]
    assert wanda[1:5] == [
        "10.70 (10.69, +0.01)", "failed (8.75)", "not measured (6.56)", "not run (5.90)",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "options",
    [
        {"sparsity": 0.61},
        {"sparsity": 0.5, "pattern": "2:4"},
        {"eval.seqlen": 4096},
        {"dataset": "c4"},
        {"refine.max_cycles": 20},
        {"refine.update_threshold": 0.2},
        {"calib.samples": 64},
        {"calib.dataset": "wikitext2"},
        {"refine.name": "dsnot_official"},
        {"allocate.name": "owl"},
        {"finetune.name": "lora"},
        {"model": "llama3-8b"},
        {"model.name": "local", "model.path": "/home/someone/llama2-7b"},
    ],
    ids=str,
)
def test_no_published_figure_beside_another_run(
    options: dict, tmp_path: Path, report: Command
) -> None:
    for sweep in ("table1", "any"):
        made = report(fill(tmp_path / sweep, result(perplexity=10.6, sweep=sweep, **options)))
        beside = [cell for row in made.rows() for cell in row if cell.startswith("10.6")]
        assert len(beside) == 1
        assert "(" not in beside[0]


def test_the_figure_of_another_sequence_length_is_its_own(tmp_path: Path, report: Command) -> None:
    run = result("llama2-7b", "wanda", 6.5, sparsity=0.5, sweep="table1", **{"eval.seqlen": 4096})
    made = report(fill(tmp_path / "a", run))
    assert made.csv().loc["wanda", "llama2-7b published"] == "6.42"
    assert "locuslab/wanda README; 4096-token blocks" in made.out


def test_every_published_figure_stands_with_its_source(tmp_path: Path, report: Command) -> None:
    runs = [
        result("llama-7b", m, 50.0, sparsity=0.7, sweep="table2") for m in ("wanda", "sparsegpt")
    ]
    made = report(fill(tmp_path / "table2", *runs))
    assert made.csv().loc["wanda", "70 % published"] == "88.84"
    for name in ("table.md", "table.tex", "table.csv", "index.html"):
        text = made.text(name).replace(r"\_", "_")
        assert "luuyin/OWL README" in text
        assert "zyxxmu/DSnoT issue 6" in text
        assert "85.77" in text  # the second of two figures for one cell
        assert "6.2 (sparsegpt+dsnot) for llama-30b" in text


def test_a_run_that_went_on_is_noted(tmp_path: Path, report: Command) -> None:
    for resumed, noted in ((0, False), (2, True)):
        made = report(fill(tmp_path / str(resumed), result(sweep="any", resumed=resumed)))
        assert ("1 run resumed after a stop" in made.out) == noted


def test_seeds_are_pooled_where_nothing_else_differs(tmp_path: Path, report: Command) -> None:
    values = [10.5, 10.6, 10.9]
    runs = [result(perplexity=v, seed=i, sweep="table1") for i, v in enumerate(values)]
    table = report(fill(tmp_path / "table1", *runs)).csv()
    cell = table.loc["wanda+dsnot"]
    assert float(cell["llama2-7b"]) == pytest.approx(sum(values) / 3)
    assert float(cell["llama2-7b std"]) == pytest.approx(statistics.stdev(values))
    assert cell["llama2-7b n"] == "3"


def test_a_run_that_differs_in_more_has_a_table_of_its_own(tmp_path: Path, report: Command) -> None:
    first = result(perplexity=10.0, sweep="table1")
    second = result(perplexity=20.0, sweep="table1", seed=1, **{"calib.samples": 64})
    plain = result(method="magnitude", perplexity=99.0, sweep="table1")
    longer = result(perplexity=5.0, sweep="table1", **{"eval.seqlen": 4096})
    made = report(fill(tmp_path / "table1", first, second, plain, longer))
    assert "do not fit in one table" in made.out
    found = [made.csv(f"table{n}.csv")["llama2-7b"].get("wanda+dsnot") for n in ("", "-2", "-3")]
    assert sorted(found) == ["10.0", "20.0", "5.0"]


def test_dense_comes_from_any_run_of_the_model(tmp_path: Path, report: Command) -> None:
    low = result(perplexity={"dense": 5.4, "refined": 7.0}, sparsity=0.5, sweep="table2")
    high = result(perplexity=99.0, sparsity=0.9, sweep="table2")
    table = report(fill(tmp_path / "t", low, high)).csv()
    assert list(table.loc["dense", ["50 %", "70 %", "90 %"]]) == ["5.4"] * 3


def test_accuracy_in_percent_with_its_error_and_mean(tmp_path: Path, report: Command) -> None:
    scores = {
        "boolq": {"refined": {"acc": 0.7, "acc_stderr": 0.03, "acc_norm": 0.1}},
        "rte": {"refined": {"acc": 0.5, "acc_stderr": 0.04}},
    }
    tasks = {"eval.tasks": ["boolq", "rte"]}
    whole = result(zero_shot=scores, sweep="zero_shot", **tasks)
    part = {"boolq": scores["boolq"], "rte": {"refined": {"error": "gone"}}}
    broken = result(method="wanda", zero_shot=part, status="incomplete", sweep="zero_shot", **tasks)
    made = report(fill(tmp_path / "z", whole, broken))
    rows = {row[0]: row[1:] for row in made.rows()}
    assert rows["method"] == ["boolq", "rte", "mean"]
    assert rows["Wanda + DSnoT"] == ["**70.00** ± 3.00", "50.00 ± 4.00", "60.00 ± 2.50"]
    assert rows["Wanda"] == ["**70.00** ± 3.00", "failed", "failed"]


def test_seconds_of_every_phase(tmp_path: Path, report: Command) -> None:
    times = {"calibrate": 31.25, "prune": 2.5, "refine": 4.75, "finetune": 60.5}
    run = result(sweep="runtime", timing_s=times)
    table = report(fill(tmp_path / "r", run)).csv()
    assert list(table.columns) == ["calibrate", "prune", "refine", "finetune"]
    assert list(table.loc["wanda+dsnot"]) == ["31.25", "2.5", "4.75", "60.5"]
    assert table.loc["sparsegpt", "prune"] == "not run"


def test_lora_has_a_row_for_every_combination(tmp_path: Path, report: Command) -> None:
    runs = [
        result(method="wanda", perplexity=9.0, sweep="lora", **{"finetune.name": "none"}),
        result(method="wanda+dsnot", perplexity=8.0, sweep="lora", **{"finetune.name": "lora"}),
    ]
    table = report(fill(tmp_path / "l", *runs)).csv()
    assert list(table.index) == ["wanda", "wanda+dsnot", "wanda+lora", "wanda+dsnot+lora"]
    assert list(table.iloc[:, 0]) == ["9.0", "not run", "not run", "8.0"]


def test_criteria_stand_against_each_other(tmp_path: Path, report: Command) -> None:
    runs = [
        result(perplexity=v, sweep="criteria", **{"refine.grow": g, "refine.prune": p})
        for v, g, p in ((1.5, "mean", "wanda"), (2.5, "mean", "random"), (3.5, "random", "wanda"))
    ]
    alone = result(method="wanda", perplexity=7.25, sweep="criteria")
    made = report(fill(tmp_path / "c", *runs, alone))
    table = made.csv()
    assert list(table.columns) == ["wanda", "random"]
    assert table.to_dict() == {
        "random": {"mean": "2.5", "random": "not run"},
        "wanda": {"mean": "1.5", "random": "3.5"},
    }
    assert "Without refinement: llama2-7b, wanda, 60 %: 7.25" in made.out


@pytest.mark.parametrize(
    ("sweep", "option", "values"),
    [
        ("cycles", "refine.max_cycles", [100, 9, 0.5]),
        ("threshold", "refine.update_threshold", [0.01, 1.0, 0.1]),
        ("samples_tiny", "calib.samples", [128, 16]),
        ("seeds", "seed", [4, 0]),
    ],
)
def test_a_line_for_every_value(
    sweep: str, option: str, values: list[float], tmp_path: Path, report: Command
) -> None:
    runs = [result(perplexity=10 * v + 1, sweep=sweep, **{option: v}) for v in values]
    table = report(fill(tmp_path / "x", *runs)).csv()
    expected = {str(v): str(10 * v + 1) for v in sorted(values)}
    expected |= {"mean": "21.0"} if sweep == "seeds" else {}
    assert dict(table.iloc[:, 0]) == expected
    assert table.index.name == option


def test_the_small_form_has_the_columns_of_its_own_model(tmp_path: Path, report: Command) -> None:
    runs = [
        result("tinyworld", m, {"dense": 2.631, "refined": v}, "tinyworld", sweep="table1_tiny")
        for m, v in (("wanda", 2.818), ("wanda+dsnot", 2.778))
    ]
    rows = report(fill(tmp_path / "t", *runs)).rows()
    assert rows[0] == ["method", "tinyworld"]
    assert rows[1][1] == "2.631"
    assert rows[-1] == ["Wanda + DSnoT", "**2.778** ↓"]


def test_lines_of_one_option_over_several_sparsities(tmp_path: Path, report: Command) -> None:
    runs = [
        result(perplexity=v, sparsity=s, sweep="cycles", **{"refine.max_cycles": c})
        for v, s, c in ((3.5, 0.5, 0), (4.5, 0.6, 0), (2.5, 0.5, 20))
    ]
    runs.append(result(method="wanda", perplexity=3.75, sparsity=0.5, sweep="cycles"))
    made = report(fill(tmp_path / "c", *runs))
    assert made.rows() == [
        ["refine.max_cycles", "50 %", "60 %"],
        ["no refinement", "3.75", "not run"],
        ["0", "*3.50* ↓", "4.50"],
        ["20", "**2.50** ↓", "not run"],
    ]
    assert (made.folder / "perplexity_sparsity.svg").exists()
