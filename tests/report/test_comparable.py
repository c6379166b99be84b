"""Which runs may share a table and a cell, and which figure may stand beside them."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dsnot_exp.report.runs import Run
from dsnot_exp.report.tables.any_folder import SEEDS
from dsnot_exp.report.tables.any_folder import tables as any_tables
from dsnot_exp.report.tables.groups import apart, clashing, comparable
from dsnot_exp.report.tables.layouts import Layout, named
from dsnot_exp.report.tables.measures import MEASURES
from dsnot_exp.report.tables.published import Where, find
from dsnot_exp.report.tables.study import tables
from dsnot_exp.report.tables.table import FAILED, NOT_MEASURED, NOT_RUN, Cell, Measured, pool
from dsnot_exp.results.file import flatten
from tests.report.folders import Report, fill, result

Command = Callable[[Path], Report]


def run(**options: Any) -> Run:
    content = result(**options)
    return Run(Path("run/result.json"), content, flatten(content["config"]))


def layout(name: str) -> Layout:
    found = named(name)
    assert found is not None
    return found


def accuracy(value: float) -> dict[str, Any]:
    return {"boolq": {"refined": {"acc": value}, "dense": {"acc": value / 2}}}


# What a run's value depends on, and what it does not.
MATTERS: list[tuple[str, Any, Any]] = [
    ("calib.samples", 64, 128),
    ("calib.dataset", "c4", "ptb"),
    ("calib.seqlen", 128, 256),
    ("calib.min_tokens", 8, 32),
    ("refine.grow", "mean", "random"),
    ("refine.skip", [], ["mlp"]),
    ("prune.damping", 0.1, 0.01),
    ("model.dtype", "float32", "bfloat16"),
    ("model.dense", [], ["mlp"]),
    ("model.path", "a/model", "b/model"),
    ("model.revision", None, "v2"),
    ("allocate.more", None, 1),
]
FREE: list[tuple[str, Any, Any]] = [
    ("relative_error", "true", "false"),
    ("eval.name", "ppl", "all"),
    ("eval.perplexity", ["wikitext2"], ["wikitext2", "c4"]),
    ("eval.tasks", [], ["boolq"]),
    ("eval.baselines", [], ["dense"]),
    ("eval.batch_size", None, 4),
    ("eval.streaming", "auto", "true"),
    ("calib.batch_size", None, 4),
    ("model.perplexity", [], ["c4"]),
    ("model.tasks", [], ["boolq"]),
    ("model.max_cycles", 5, 50),
    ("out", "a", "b"),
    ("sweep", "a", "b"),
    ("device", "cpu", "cuda"),
    ("wandb.mode", "offline", "disabled"),
]
ONLY_PERPLEXITY: list[tuple[str, Any, Any]] = [("eval.blocks", None, 8), ("eval.blocks", 8, 16)]
ONLY_ACCURACY: list[tuple[str, Any, Any]] = [("eval.limit", None, 100), ("eval.num_fewshot", 0, 5)]


@pytest.mark.parametrize(("option", "one", "other"), MATTERS, ids=lambda v: str(v)[:20])
@pytest.mark.parametrize("name", ["table1", "zero_shot"])
def test_runs_that_differ_in_what_matters_are_apart(
    name: str, option: str, one: Any, other: Any
) -> None:
    runs = [run(**{option: one}), run(seed=1, **{option: other}), run(seed=2, **{option: one})]
    groups = list(apart(layout(name), runs))
    assert sorted(len(members) for _, members in groups) == [1, 2]
    assert sorted((str(fixed[option]) for fixed, _ in groups)) == sorted((str(one), str(other)))


@pytest.mark.parametrize(("option", "one", "other"), FREE, ids=lambda v: str(v)[:20])
@pytest.mark.parametrize("name", ["table1", "zero_shot"])
def test_runs_that_differ_in_nothing_that_matters_share_a_cell(
    name: str, option: str, one: Any, other: Any
) -> None:
    runs = [run(**{option: one}), run(seed=1, **{option: other})]
    ((fixed, members),) = apart(layout(name), runs)
    assert members == runs
    assert option not in fixed


@pytest.mark.parametrize(("option", "one", "other"), ONLY_ACCURACY, ids=lambda v: str(v)[:20])
def test_how_many_items_are_asked_and_after_how_many_examples_matters_to_accuracy_alone(
    option: str, one: Any, other: Any
) -> None:
    runs = [run(**{option: value}) for value in (one, other)]
    assert len(list(apart(layout("table1"), runs))) == 1
    assert len(list(apart(layout("zero_shot"), runs))) == 2


@pytest.mark.parametrize(("option", "one", "other"), ONLY_PERPLEXITY, ids=lambda v: str(v)[:20])
def test_the_part_of_a_text_matters_to_perplexity_alone(option: str, one: Any, other: Any) -> None:
    runs = [run(**{option: value}) for value in (one, other)]
    assert len(list(apart(layout("table1"), runs))) == 2
    assert len(list(apart(layout("zero_shot"), runs))) == 1


def test_a_perplexity_of_a_part_of_a_text_stands_beside_no_other(
    tmp_path: Path, report: Command
) -> None:
    """Neither beside one of the whole text, nor beside a published one, nor its dense value."""
    runs = [
        result(
            "llama-7b", perplexity={"dense": d, "refined": v}, sweep="table1", **{"eval.blocks": n}
        )
        for d, v, n in ((5.0, 9.0, 8), (6.0, 10.0, None))
    ]
    made = report(fill(tmp_path / "t", *runs))
    found = [made.csv(f"table{number}.csv").astype(str) for number in ("", "-2")]
    for table, own, others in zip(found, ((9, 5), (10, 6)), ((10, 6), (9, 5)), strict=True):
        values = [float(v) for row in table.to_numpy() for v in row if v.replace(".", "").isdigit()]
        assert set(own) <= set(values)
        assert not set(others) & set(values)
    part, whole = (table.to_csv() for table in found)
    assert ("10.22" in whole, "5.68" in whole) == (True, True)  # published
    assert ("10.22" in part, "5.68" in part) == (False, False)
    assert "eval.blocks = 8" in made.out


def test_a_table_is_of_one_model_and_one_budget_unless_they_are_its_axes() -> None:
    runs = [
        run(model=m, sparsity=p, pattern=n)
        for m, p, n in (("a", 0.5, "unstructured"), ("b", 0.5, "unstructured"), ("a", 0.5, "2:4"))
    ]
    for name, axis, values in (
        ("table1", "budget", ["2:4", "50 %"]),
        ("table2", "model", ["a", "b"]),
    ):
        groups = list(apart(layout(name), runs))
        assert [fixed for fixed, _ in groups] == [{axis: v, "seqlen": 2048} for v in values]
        assert sorted(len(members) for _, members in groups) == [1, 2]
    ((fixed, members),) = apart(layout("nm"), runs)
    assert (fixed, members) == ({"seqlen": 2048}, runs)


def test_a_group_is_not_said_to_have_what_none_of_its_runs_has() -> None:
    runs = [run(method="wanda+dsnot", **{"refine.max_cycles": n}) for n in (20, 50)]
    runs += [run(method="sparsegpt", **{"prune.damping": n}) for n in (0.1, 0.01)]
    common = {"budget": "60 %", "seqlen": 2048}
    groups = [fixed for fixed, _ in apart(layout("table1"), runs)]
    more = [
        {"refine.max_cycles": 20}, {"refine.max_cycles": 50},
        {"prune.damping": 0.1}, {"prune.damping": 0.01},
    ]  # fmt: skip
    assert sorted(map(str, groups)) == sorted(str(common | one) for one in more)


def test_the_length_of_a_sequence_matters_to_perplexity_alone() -> None:
    runs = [run(**{"eval.seqlen": n, "calib.seqlen": 2048}) for n in (2048, 4096)]
    groups = list(apart(layout("table1"), runs))
    assert sorted(fixed["seqlen"] for fixed, _ in groups) == [2048, 4096]
    assert len(list(apart(layout("zero_shot"), runs))) == 1


def test_a_length_that_was_not_given_is_that_of_the_calibration() -> None:
    runs = [run(**{"eval.seqlen": e, "calib.seqlen": c}) for e, c in ((None, 64), (64, 32))]
    assert [one.seqlen for one in runs] == [64, 64]


def test_a_run_that_lacks_an_option_is_in_every_group_and_null_is_a_value() -> None:
    plain = run(method="magnitude")
    cycles = [run(**{"refine.max_cycles": n}) for n in (20, 50)]
    groups = list(apart(layout("table1"), [*cycles, plain]))
    assert [members for _, members in groups] == [[cycles[0], plain], [cycles[1], plain]]
    limits = [run(zero_shot=accuracy(0.5), **{"eval.limit": n}) for n in (None, 100)]
    without = run(method="magnitude", zero_shot=accuracy(0.5))  # before there was the option
    groups = list(apart(layout("zero_shot"), [*limits, without]))
    found = {str(fixed["eval.limit"]): members for fixed, members in groups}
    assert found == {"None": [limits[0], without], "100": [limits[1], without]}


def test_accuracies_on_some_and_on_all_items_do_not_mix(tmp_path: Path, report: Command) -> None:
    runs = [
        result(zero_shot=accuracy(v), sweep="zero_shot", seed=s, **{"eval.limit": n})
        for v, s, n in ((0.5, 0, 100), (0.75, 1, None))
    ]
    made = report(fill(tmp_path / "z", *runs))
    found = [made.csv(f"table{number}.csv") for number in ("", "-2")]
    assert sorted(float(table.loc["wanda+dsnot", "boolq"]) for table in found) == [50, 75]
    assert sorted(float(table.loc["dense", "boolq"]) for table in found) == [25, 37.5]
    for words in ("eval.limit = 100", "eval.limit = null"):
        assert words in made.out


@pytest.mark.parametrize(
    ("option", "one", "other"),
    [
        ("model.dtype", "float32", "bfloat16"), ("model.revision", None, "v2"),
        ("model.path", "a/x", "b/x"), ("eval.seqlen", 2048, 4096),
    ],
)  # fmt: skip
def test_a_dense_value_is_that_of_the_same_weights(
    option: str, one: Any, other: Any, tmp_path: Path, report: Command
) -> None:
    """Also where no two of the pruned runs differ in it."""
    runs = [
        result(method="dense", perplexity=5.0, sweep="table1", **{option: one}),
        result(perplexity=10.0, sweep="table1", **{option: other}),
    ]
    table = report(fill(tmp_path / "a", *runs)).csv()
    assert table.loc["dense", "llama2-7b"] != "5.0"
    runs[0] = result(method="dense", perplexity=5.0, sweep="table1", **{option: other})
    table = report(fill(tmp_path / "b", *runs)).csv()
    assert table.loc["dense", "llama2-7b"] == "5.0"


def test_a_dense_accuracy_is_that_of_as_many_items(tmp_path: Path, report: Command) -> None:
    dense = result(method="dense", zero_shot=accuracy(0.5), sweep="zero_shot", **{"eval.limit": 9})
    pruned = result(
        zero_shot={"boolq": {"refined": {"acc": 0.7}}}, sweep="zero_shot", **{"eval.limit": None}
    )
    table = report(fill(tmp_path / "a", dense, pruned)).csv()
    assert table.loc["wanda+dsnot", "boolq"] == "70.0"
    assert table.loc["dense", "boolq"] in (NOT_RUN, NOT_MEASURED)


def measured(one: Run) -> Measured | None:
    return MEASURES["perplexity"].of(one, "wikitext2", "refined")


def test_a_cell_is_the_mean_over_seeds() -> None:
    runs = [run(perplexity=v, seed=s) for v, s in ((10.0, 0), (20.0, 1), (60.0, 2))]
    cell = pool(runs, measured)
    assert (cell.value, cell.n) == (30.0, 3)
    assert cell.spread == pytest.approx(statistics.stdev([10, 20, 60]))


def test_of_one_seed_the_first_run_counts_and_it_counts_once() -> None:
    runs = [run(perplexity=v, seed=s) for v, s in ((10.0, 0), (99.0, 0), (20.0, 1), (99.0, 1))]
    assert pool(runs, measured).value == 15.0
    assert pool(runs, measured).n == 2
    assert pool(runs[:2], measured) == Cell(10.0)
    unmeasured = run(seed=0)
    assert pool([unmeasured, *runs[1:2]], measured).value == 99.0


def test_a_cell_without_a_value_says_why() -> None:
    failed, unmeasured = run(status="incomplete"), run()
    assert pool([], measured) == Cell(words=NOT_RUN)
    assert pool([unmeasured], measured) == Cell(words=NOT_MEASURED)
    assert pool([unmeasured, failed], measured) == Cell(words=FAILED)
    assert pool([failed, run(perplexity=3.0)], measured) == Cell(3.0)


def test_options_clash_where_all_else_on_the_axes_is_the_same() -> None:
    runs = [run(seed=s, **{"calib.samples": n}) for s, n in ((0, 64), (1, 128))]
    assert clashing(runs, ["model", "method", "budget"]) == ["calib.samples"]
    assert clashing(runs, ["model", "calib.samples"]) == []
    assert clashing([runs[0], run(method="wanda")], ["method"]) == []
    longer = [run(), run(**{"prune.more": 1})]
    assert clashing(longer, ["method"]) == clashing(longer[::-1], ["method"]) == ["prune.more"]


def names(groups: list[list[Run]]) -> list[list[int]]:
    """Each group by its runs' seeds."""
    return [[one.options["seed"] for one in group] for group in groups]


def test_runs_are_comparable_that_share_a_text_of_one_length_or_a_task() -> None:
    runs = [
        run(perplexity=1.0, seed=0),
        run(perplexity=1.0, seed=1, **{"eval.seqlen": 4096}),
        run(perplexity=1.0, seed=2, dataset="c4"),
        run(perplexity=1.0, seed=3),
        run(zero_shot=accuracy(0.5), seed=4),
        run(zero_shot=accuracy(0.5), seed=5, **{"eval.seqlen": 4096}),
        run(seed=6),
        run(seed=7),
    ]
    assert names(comparable(runs)) == [[1], [2], [0, 3], [4, 5], [6, 7]]
    other = run(zero_shot={"rte": {"refined": {"acc": 0.5}}}, seed=8)
    assert names(comparable([runs[4], other])) == [[4], [8]]


def test_a_run_joins_those_that_it_shares_something_with() -> None:
    both = run(perplexity=1.0, seed=2)
    both.result["metrics"]["perplexity"]["c4"] = {"refined": 2.0}
    runs = [run(perplexity=1.0, seed=0), run(perplexity=1.0, seed=1, dataset="c4"), both]
    assert names(comparable(runs)) == [[0, 1, 2]]
    assert names(comparable(runs[:2])) == [[0], [1]]


def over_seeds(*runs: Run) -> list[tuple[float | None, int]]:
    """The values and numbers of seeds of the table of means, if there is one."""
    found = [table for table in any_tables(runs) if table.title == SEEDS]
    return [(row[-1].value, row[-1].n) for table in found for row in table.cells]


def test_means_over_seeds_mix_nothing_else() -> None:
    pair = [run(perplexity=v, seed=s) for v, s in ((10.0, 0), (20.0, 1))]
    assert over_seeds(*pair) == [(15.0, 2)]
    assert over_seeds(pair[0], run(perplexity=10.0, seed=0)) == []
    more = run(perplexity=90.0, seed=2, **{"calib.samples": 64})
    assert over_seeds(*pair, more) == [(15.0, 2)]
    longer = run(perplexity=90.0, seed=2, **{"eval.seqlen": 4096})
    assert over_seeds(*pair, longer) == [(15.0, 2)]
    assert over_seeds(pair[0], more) == []


@pytest.mark.parametrize(("model", "phase", "seconds"), [
    ("llama-7b", "prune", "3"), ("llama-65b", "prune", "5"),
    ("llama-7b", "refine", "5"), ("llama-65b", "refine", "20"),
])  # fmt: skip
def test_a_remark_is_named_beneath_and_stands_beside_no_cell(
    model: str, phase: str, seconds: str
) -> None:
    method = "wanda" if phase == "prune" else "wanda+dsnot"
    where = Where("seconds", phase, model, method, "60 %", 2048)
    beside, beneath = find(where)
    assert beside is None
    assert [one.text for one in beneath] == [seconds]
    timed = run(model=model, method=method, timing_s={phase: 4.0})
    (table,) = tables("runtime", layout("runtime"), [timed])
    cells = [cell for row in table.cells for cell in row]
    assert all(cell.published is None for cell in cells)
    assert any(f"{method}, {model}, {phase}: {seconds}" in note for note in table.notes)


def test_of_two_figures_the_first_stands_beside_the_cell_and_the_other_beneath() -> None:
    where = Where("perplexity", "wikitext2", "llama2-7b", "magnitude", "60 %", 2048)
    beside, beneath = find(where)
    assert beside is not None
    assert (beside.text, [one.text for one in beneath]) == ("6.9e3", ["1924.7"])


USUAL: dict[str, Any] = {
    "calib.dataset": "c4", "calib.samples": 128, "model.dense": [], "refine.max_cycles": 50,
    "refine.update_threshold": 0.1, "refine.variance_power": 1, "refine.grow": "mean_over_var",
    "refine.prune": "signed_wanda", "prune.update_weights": True,
}  # fmt: skip
UNUSUAL: dict[str, Any] = {
    "calib.dataset": "ptb", "calib.samples": 127, "model.dense": ["mlp"], "refine.max_cycles": 49,
    "refine.update_threshold": 0.2, "refine.variance_power": 0.5, "refine.grow": "mean",
    "refine.prune": "wanda", "prune.update_weights": False,
}  # fmt: skip


def beside(method: str = "wanda+dsnot", **changes: Any) -> str | None:
    place = {"measure": "perplexity", "name": "wikitext2", "model": "llama2-7b", "budget": "60 %"}
    options = changes.pop("options", USUAL)
    where = Where(**{**place, "method": method, "seqlen": 2048, "options": options, **changes})
    found = find(where)[0]
    return None if found is None else found.text


@pytest.mark.parametrize("option", USUAL)
def test_a_figure_stands_beside_runs_with_the_papers_options_only(option: str) -> None:
    assert beside() == "10.59"
    assert beside(options={**USUAL, option: UNUSUAL[option]}) is None
    assert beside("dense", options={**USUAL, option: UNUSUAL[option]}) == "5.47"


@pytest.mark.parametrize(
    "change",
    [
        {"measure": "accuracy"}, {"name": "c4"}, {"seqlen": 4096}, {"seqlen": None},
        {"budget": "2:4"}, {"budget": "50 %"}, {"model": "llama2-70B"}, {"method": "wanda+lora"},
        {"options": {**USUAL, "model.name": "local"}},
    ],
    ids=str,
)  # fmt: skip
def test_a_figure_stands_beside_the_run_that_it_is_of(change: dict[str, Any]) -> None:
    assert beside(**change) is None
