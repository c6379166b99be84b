"""Compositions ranked by perplexity: what is compared, against what, and what it costs."""

from __future__ import annotations

import copy
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dsnot_exp.report.build import build
from dsnot_exp.report.runs import load
from dsnot_exp.report.tables.ranking import NO_PAIR, Ranking, rankings
from dsnot_exp.report.tables.table import Table
from tests.report.folders import Report, fill, result

Command = Callable[[Path], Report]
DENSE = 10.0
TARGET = {"calib.target.alpha": 0.5, "calib.target.beta": 0.25}
FISHER = {"allocate.name": "fisher"}


def ran(method: str, value: float, seconds: float = 1.0, **options: Any) -> dict[str, Any]:
    times = {
        "load": 50.0, "calibrate": 4.0, "prune": seconds, "refine": 0.5, "evaluate": 70.0,
        "keep": 9.0, "total": 999.0,
    }  # fmt: skip
    given = {"memory": {"peak_rss_bytes": 2**31, "peak_device_bytes": 0}, "sweep": "frontier"}
    return result("m", method, {"dense": DENSE, "refined": value}, timing_s=times,
                  **{**given, **options})  # fmt: skip


def ranked(folder: Path, *results: dict[str, Any]) -> list[Ranking]:
    return list(rankings(load(fill(folder, *results))[0]))


def table_of(folder: Path, *results: dict[str, Any]) -> Table | None:
    """The last table of the report, if it is a ranking."""
    found = build(load(fill(folder / "frontier", *results))[0], "frontier")
    return found.tables[-1] if found.ranked else None


def places(ranking: Ranking) -> dict[str, float | None]:
    return {one.name: one.ratio.value for one in ranking.standings}


def test_the_lowest_perplexity_is_first_and_the_ratio_is_that_of_the_gaps(
    tmp_path: Path, report: Command
) -> None:
    runs = [
        ran("wanda", 50.0), ran("alps", 16.0, 3.0, **FISHER, **TARGET), ran("sparsegpt", 30.0),
        ran("alps", 22.0, 2.0), ran("alps", 12.0, sparsity=0.5), ran("dense", DENSE),
    ]  # fmt: skip
    made = report(fill(tmp_path / "frontier", *runs))
    assert "Ranking at 60 % on WikiText-2" in made.out
    assert "Ranking at 50 %" not in made.out  # one composition ranks nothing
    table = made.csv("table-2.csv")
    assert list(table.index) == [
        "dense",
        "alps+fisher, target 0.5/0.25",
        "alps",
        "sparsegpt",
        "wanda",
    ]
    assert list(table["ratio"]) == ["", "0.3", "0.6", "1.0", "2.0"]
    assert list(table["perplexity"]) == ["10.0", "16.0", "22.0", "30.0", "50.0"]
    assert list(table["over (s)"])[1:] == ["3.5", "2.5", "1.5", "1.5"]
    assert set(table["forwards (s)"][1:]) == {"4.0"}
    assert set(table["memory (GiB)"][1:]) == {"2.0"}
    assert "**16** | **0.3**" in made.out
    assert "ALPS + fisher, target 0.5/0.25" in made.text("index.html")
    assert (made.folder / "quality_cost.png").stat().st_size > 0


def test_seeds_are_averaged_and_a_ratio_is_of_one_seed(tmp_path: Path) -> None:
    runs = [ran("sparsegpt", v, seed=s) for s, v in ((0, 30.0), (1, 50.0))]
    runs += [ran("alps", v, seed=s) for s, v in ((0, 20.0), (1, 20.0), (2, 26.0))]
    runs += [ran("wanda", 60.0, seed=5)]
    (ranking,) = ranked(tmp_path, *runs)
    best, reference, last = ranking.standings
    assert (best.perplexity.value, best.perplexity.n) == (22.0, 3)
    assert best.ratio.value == statistics.fmean([0.5, 0.25])
    assert (best.ratio.n, best.ratio.spread) == (2, statistics.stdev([0.5, 0.25]))
    assert (reference.ratio.value, reference.ratio.n) == (1.0, 2)
    assert (last.ratio.value, last.ratio.words) == (None, NO_PAIR)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("model.name", "other"), ("model.dtype", "float32"), ("calib.samples", 64),
        ("calib.dataset", "ptb"), ("calib.seqlen", 99), ("eval.seqlen", 99), ("sparsity", 0.7),
        ("pattern", "2:4"), ("model.dense", ["mlp"]), ("eval.bos", "true"), ("calib.min_tokens", 1),
    ],
)  # fmt: skip
def test_other_models_data_and_budgets_are_never_ranked_together(
    option: str, value: Any, tmp_path: Path
) -> None:
    first = [ran("sparsegpt", 30.0), ran("alps", 20.0)]
    second = [ran("sparsegpt", 40.0, seed=1), ran("alps", 16.0, seed=1)]
    for run in second:
        node, keys = run["config"], option.split(".")
        for key in keys[:-1]:
            node = node[key]
        node[keys[-1]] = value
    found = [places(ranking) for ranking in ranked(tmp_path, *first, *second)]
    assert sorted(found, key=str) == [
        {"alps": 0.2, "sparsegpt": 1.0},
        {"alps": 0.5, "sparsegpt": 1.0},
    ]


@pytest.mark.parametrize("part", ["evaluation", "calibration"])
def test_a_file_that_has_changed_is_another_text(part: str, tmp_path: Path) -> None:
    def on(run: dict[str, Any], sha: str) -> dict[str, Any]:
        whole = {"tokens_sha256": sha}
        other = {"tokens_sha256": "same"}
        parts = {"calibration": other, "evaluation": {"wikitext2": other}}
        parts |= {"evaluation": {"wikitext2": whole}} if part == "evaluation" else {part: whole}
        return copy.deepcopy(run) | {"data": parts}

    runs = [on(ran("sparsegpt", 30.0), "a"), on(ran("alps", 20.0), "a")]
    changed = [on(ran("sparsegpt", 40.0), "b"), on(ran("wanda", 70.0), "b")]
    found = [places(ranking) for ranking in ranked(tmp_path, *runs, *changed)]
    assert found == [{"alps": 0.5, "sparsegpt": 1.0}, {"sparsegpt": 1.0, "wanda": 2.0}]


def test_the_calibration_of_another_seed_is_no_other_text(tmp_path: Path) -> None:
    runs = [ran(m, 20.0 + s, seed=s) for m in ("alps", "sparsegpt") for s in (0, 1)]
    for run in runs:
        run["data"] = {"calibration": {"tokens_sha256": f"of {run['config']['seed']}"}}
    (ranking,) = ranked(tmp_path, *runs)
    assert [one.perplexity.n for one in ranking.standings] == [2, 2]


def test_options_that_no_name_tells_are_added_to_it(tmp_path: Path) -> None:
    runs = [ran("alps", 20.0, **{"prune.schedule": s}) for s in ("short", "full")]
    runs += [ran("sparsegpt", v, **{"prune.damping": d}) for v, d in ((40.0, 0.1), (30.0, 0.01))]
    (ranking,) = ranked(tmp_path, *runs)
    assert set(places(ranking)) == {
        "alps, prune.schedule=short", "alps, prune.schedule=full", "sparsegpt, prune.damping=0.1",
        "sparsegpt, prune.damping=0.01",
    }  # fmt: skip
    assert places(ranking)["sparsegpt, prune.damping=0.1"] == 1.5  # the reference has the default


def test_without_sparsegpt_or_a_dense_value_there_is_no_ratio(tmp_path: Path) -> None:
    moved = ran("sparsegpt", 30.0, **TARGET)
    table = table_of(tmp_path / "a", moved, ran("alps", 20.0))
    assert table is not None
    assert table.columns[:2] == ["perplexity", "forwards (s)"]
    runs = [ran("sparsegpt", 30.0), ran("alps", 20.0)]
    for run in runs:
        run["metrics"]["perplexity"]["wikitext2"].pop("dense")
    table = table_of(tmp_path / "b", *runs)
    assert table is not None
    assert (table.columns[1], table.labels[0]) == ("forwards (s)", ("alps",))
    (ranking,) = ranked(tmp_path / "c", *runs, ran("dense", DENSE))
    assert places(ranking) == {"alps": 0.5, "sparsegpt": 1.0}


def test_a_reference_that_is_no_worse_than_dense_gives_no_ratio(tmp_path: Path) -> None:
    (ranking,) = ranked(tmp_path, ran("sparsegpt", DENSE), ran("alps", 20.0))
    assert {one.ratio.value for one in ranking.standings} == {None}


def test_the_zero_shot_mean_stands_beside_it(tmp_path: Path) -> None:
    def scores(value: float) -> dict[str, Any]:
        return {t: {"refined": {"acc": value}, "dense": {"acc": 0.9}} for t in ("boolq", "rte")}

    runs = [ran("alps", 20.0, zero_shot=scores(0.6)), ran("wanda", 30.0, zero_shot=scores(0.5))]
    table = table_of(tmp_path, *runs)
    assert table is not None
    place = table.columns.index("zero-shot mean")
    assert [row[place].value for row in table.cells] == [90.0, 60.0, 50.0]
    assert [row[place].best for row in table.cells] == [False, True, False]


def test_a_second_walk_in_the_seconds_is_said(tmp_path: Path) -> None:
    runs = [ran("wanda+dsnot", 20.0), ran("alps", 15.0)]
    runs[0]["metrics"]["perplexity"]["wikitext2"]["pruned"] = 25.0
    for reused, said in ([], True), (["pruned"], False):
        runs[0]["reused_stages"] = reused
        table = table_of(tmp_path / str(said), *runs)
        assert table is not None
        assert any("measured the pruned stage too: 1." in note for note in table.notes) == said


def test_the_papers_studies_have_no_ranking(tmp_path: Path) -> None:
    def titles(folder: str, *results: dict[str, Any]) -> str:
        found = load(fill(tmp_path / folder, *results))[0]
        return ", ".join(table.title for table in build(found, folder).tables)

    paper = [ran("wanda", 30.0, sweep="table1"), ran("sparsegpt", 20.0, sweep="table1")]
    assert "Ranking" not in titles("a", *paper)
    assert "Ranking at 60 %" in titles("b", *paper, ran("alps", 9.0, sweep="table1"))
    own = [{**run, "config": {**run["config"], "sweep": "mine"}} for run in paper]
    assert "Ranking at 60 %" in titles("c", *own)


def test_a_run_that_took_its_allocation_from_another_one_costs_the_same(tmp_path: Path) -> None:
    runs = [ran("alps", 20.0, 1.0, **FISHER), ran("wanda", 30.0, 2.0, **FISHER), ran("ria", 40.0)]
    runs += [ran("alps", 20.0, 1.0, seed=1, **FISHER)]
    runs[0]["timing_s"]["allocate"] = 7.0
    for run in runs[1:]:
        run["timing_s"]["allocate"] = 0.0
    runs[1]["reused_stages"] = ["allocation"]
    (ranking,) = ranked(tmp_path, *runs)
    found = {one.name: one.over.value for one in ranking.standings}
    assert found == {"alps+fisher": (8.5 + 1.5) / 2, "wanda+fisher": 9.5, "ria": 1.5}
