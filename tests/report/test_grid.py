"""Compositions by sparsities: what is a row, a column, a cell of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dsnot_exp.report.names import of_model, of_texts
from dsnot_exp.report.runs import load
from dsnot_exp.report.tables.grid import Grid, grids
from dsnot_exp.report.tables.grid_tables import tables
from dsnot_exp.report.tables.table import Table
from dsnot_exp.results.method_names import pretty
from tests.report.folders import Report, fill, result

Command = Callable[[Path], Report]


def ran(method: str, value: float, sparsity: float = 0.5, **options: Any) -> dict[str, Any]:
    stages = {"dense": 5.0, "refined": value}
    return result("m", method, stages, **{"sparsity": sparsity, **options})


def made(folder: Path, *results: dict[str, Any], measure: str = "perplexity") -> list[Grid]:
    return list(grids(load(fill(folder, *results))[0], measure))


def shown(folder: Path, *results: dict[str, Any]) -> list[Table]:
    return list(tables(load(fill(folder, *results))[0]))


def values(table: Table) -> dict[str, list[float | None]]:
    return {labels[0]: [cell.value for cell in row]
            for labels, row in zip(table.labels, table.cells, strict=True)}  # fmt: skip


def test_methods_by_sparsities_with_patterns_last_and_means_over_seeds(tmp_path: Path) -> None:
    runs = [ran("wanda", v, seed=s) for s, v in enumerate((10.0, 12.0))]
    runs += [ran("wanda+dsnot", 9.0), ran("wanda", 20.0, 0.7), ran("magnitude", 99.0, 0.7)]
    runs += [ran("wanda", 15.0, pattern="2:4"), ran("wanda", 14.0, pattern="4:8")]
    (table,) = shown(tmp_path, *runs)
    assert table.columns == ["50 %", "70 %", "2:4", "4:8"]
    assert values(table) == {
        "dense": [5.0] * 4, "magnitude": [None, 99.0, None, None],
        "wanda": [11.0, 20.0, 15.0, 14.0], "wanda+dsnot": [9.0, None, None, None],
    }  # fmt: skip
    assert table.cells[1][0].words == "not run"
    assert (table.cells[2][0].n, table.cells[2][0].spread) == (2, pytest.approx(2**0.5))


def test_models_and_texts_head_the_columns(tmp_path: Path, report: Command) -> None:
    hub = {"model.name": "hub", "model.path": "HuggingFaceTB/SmolLM2-135M"}
    local = {"model.name": "local", "model.path": "/data/models/Other-1B/hf"}
    runs = [
        ran("wanda", v + place, s, dataset=text, **model)
        for place, model in enumerate((hub, local))
        for text in ("wikitext2", "/texts/test.txt")
        for s, v in ((0.5, 10.0), (0.6, 20.0))
    ]
    (table,) = shown(tmp_path, *runs)
    assert list(dict.fromkeys(table.above)) == [
        "Other-1B, WikiText-2", "Other-1B, test.txt", "SmolLM2-135M, WikiText-2",
        "SmolLM2-135M, test.txt",
    ]  # fmt: skip
    assert values(table)["wanda"] == [11.0, 21.0] * 2 + [10.0, 20.0] * 2
    text = report(tmp_path).text("table.tex")
    assert r" & \multicolumn{2}{c}{Other-1B, WikiText-2} & " in text
    assert r"\cmidrule(lr){2-3} \cmidrule(lr){4-5} \cmidrule(lr){6-7}" in text
    page = report(tmp_path).text("index.html")
    assert '<th scope="colgroup" colspan="2"><span>SmolLM2-135M, test.txt</span></th>' in page


@pytest.mark.parametrize(
    ("option", "value", "row"),
    [
        ("calib.samples", 64, "64 samples"),
        ("refine.max_cycles", 5, "5 cycles"),
        ("refine.grow", "mean", "grow mean"),
        ("calib.dataset", "/home/x/calib.txt", "dataset calib.txt"),
        ("calib.target.alpha", 0.5, "target 0.5/0"),
    ],
)
def test_an_option_that_differs_makes_a_row(
    option: str, value: Any, row: str, tmp_path: Path
) -> None:
    """Also if the seeds differ: two compositions are never the seeds of one."""
    runs = [ran("wanda+dsnot", 10.0), ran("wanda+dsnot", 20.0, seed=1, **{option: value})]
    (grid,) = made(tmp_path, *runs)
    assert len(grid.rows) == 2
    assert f"wanda+dsnot, {row}" in [one.name for one in grid.rows]
    assert sorted(cell.value or 0.0 for cell in grid.cells.values()) == [10.0, 20.0]


def test_two_files_of_one_name_are_two_rows(tmp_path: Path) -> None:
    runs = [
        ran("wanda", value, seed=seed, **{"calib.dataset": f"/{folder}/test.txt"})
        for seed, (folder, value) in enumerate((("a", 10.0), ("b", 20.0)))
    ]
    (grid,) = made(tmp_path, *runs)
    assert [row.name for row in grid.rows] == [
        "wanda, dataset a/test.txt", "wanda, dataset b/test.txt",
    ]  # fmt: skip
    assert [cell.n for cell in grid.cells.values()] == [1, 1]


def test_a_mask_without_calibration_stands_among_the_others(tmp_path: Path) -> None:
    runs = [ran("magnitude", 20.0), ran("wanda", 10.0), ran("wanda", 12.0, seed=1)]
    for run in runs[1:]:
        run["data"] = {"calibration": {"tokens_sha256": f"of {run['config']['seed']}"}}
    (grid,) = made(tmp_path, *runs)
    assert [row.name for row in grid.rows] == ["magnitude", "wanda"]


def test_an_option_that_differs_between_models_only_makes_none(tmp_path: Path) -> None:
    runs = [
        ran("wanda+dsnot", 10.0, **{"refine.max_cycles": cycles, "model.path": path})
        for cycles, path in ((5, "/a"), (50, "/b"))
    ]
    (grid,) = made(tmp_path, *runs)
    assert [row.name for row in grid.rows] == ["wanda+dsnot"]
    assert [column.model for column in grid.columns] == ["m, a", "m, b"]


@pytest.mark.parametrize(
    ("option", "value"), [("eval.seqlen", 64), ("eval.bos", "true"), ("eval.blocks", 8)]
)
def test_another_way_of_measuring_is_another_grid(option: str, value: Any, tmp_path: Path) -> None:
    runs = [ran("wanda", 10.0), ran("wanda", 20.0, seed=1, **{option: value})]
    assert len(made(tmp_path, *runs)) == 2


def test_two_contents_of_one_text_are_two_columns(tmp_path: Path) -> None:
    runs = [ran("wanda", 10.0), ran("sparsegpt", 20.0)]
    for sha, run in zip(("a" * 64, "b" * 64), runs, strict=True):
        run["data"] = {"evaluation": {"wikitext2": {"tokens_sha256": sha}}}
        run["metrics"]["perplexity"]["wikitext2"]["dense"] = 5.0 if sha[0] == "a" else 6.0
    (grid,) = made(tmp_path, *runs)
    assert {column.name: grid.dense[column.model, column.name].value for column in grid.columns} \
        == {"WikiText-2 [aaaaaa]": 5.0, "WikiText-2 [bbbbbb]": 6.0}  # fmt: skip


def test_tasks_by_sparsity_and_their_mean_of_two_runs_of_one_model(tmp_path: Path) -> None:
    def scores(**tasks: float) -> dict[str, Any]:
        return {task: {"refined": {"acc": v, "acc_stderr": 0.03}, "dense": {"acc": 0.9}}
                for task, v in tasks.items()}  # fmt: skip

    runs = [
        ran("wanda", 10.0, zero_shot=scores(boolq=0.5)),
        ran("wanda", 10.0, zero_shot=scores(rte=0.7)),  # the same sparse model, asked again
        ran("wanda", 20.0, 0.7, zero_shot=scores(boolq=0.4, rte=0.6)),
    ]
    means, single = shown(tmp_path, *runs)[1:]
    assert (means.columns, single.above[0]) == (["50 %", "70 %"], "50 %")
    assert single.columns == ["boolq", "rte", "mean"] * 2
    assert values(means)["wanda"] == pytest.approx([60.0, 50.0])
    assert values(single)["wanda"] == pytest.approx([50.0, 70.0, 60.0, 40.0, 60.0, 50.0])
    assert values(single)["dense"] == pytest.approx([90.0] * 6)
    assert means.cells[1][0].spread == pytest.approx(3.0 / 2**0.5)


def test_a_dense_accuracy_of_other_items_is_not_shown(tmp_path: Path) -> None:
    few = {"boolq": {"refined": {"acc": 0.5}}}
    whole = {"boolq": {"refined": {"acc": 0.75}}}
    runs = [ran(m, 9.0, zero_shot=few, **{"eval.limit": 10}) for m in ("wanda", "sparsegpt")]
    runs.append(result("m", "dense", zero_shot=whole, **{"eval.limit": None}))
    (grid,) = made(tmp_path, *runs, measure="accuracy")
    assert [cell.value for cell in grid.dense.values()] == [None]


def test_names(tmp_path: Path) -> None:
    cache = "~/.cache/models--HuggingFaceTB--SmolLM2-135M/snapshots/" + "0" * 40
    for options, name in (
        (
            {"model.name": "smollm2-135m", "model.path": "HuggingFaceTB/SmolLM2-135M"},
            "SmolLM2-135M",
        ),
        ({"model.name": "local", "model.path": "/m/SmolLM2-135M/hf"}, "SmolLM2-135M"),
        ({"model.name": "local", "model.path": cache}, "SmolLM2-135M"),
        ({"model.name": "local", "model.path": "hf"}, "hf"),
        ({"model.name": "tinyworld", "model.path": None}, "tinyworld"),
    ):
        assert of_model(options) == name
    assert of_texts(["/a/test.txt", "/b/test.txt", "c4"]) == {
        "/a/test.txt": "a/test.txt", "/b/test.txt": "b/test.txt", "c4": "C4",
    }  # fmt: skip
    assert pretty("mine+dsnot, 5 cycles") == "mine + DSnoT, 5 cycles"
    assert pretty("gpt2+medium") == "gpt2+medium"
