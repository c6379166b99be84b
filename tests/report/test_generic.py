"""The table of every run in a folder that no layout knows; it is the last of its tables."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from dsnot_exp.report.runs import load
from tests.report.folders import Report, fill, result

Command = Callable[[Path], Report]


def run(sparsity: float, cycles: int, value: float, **options: object) -> dict:
    known = {"sparsity": sparsity, "refine.max_cycles": cycles, **options}
    return result("m", perplexity=value, dataset="text", **known)


def test_a_row_per_run_in_the_order_of_what_varies(tmp_path: Path, report: Command) -> None:
    made = report(fill(tmp_path, run(0.6, 10, 3.0), run(0.5, 10, 2.0), run(0.6, 2, 1.0)))
    lines = made.out.splitlines()
    start = lines.index("| refine.max_cycles | sparsity | achieved | text refined |")
    assert lines[start:][:5] == [
        "| refine.max_cycles | sparsity | achieved | text refined |",
        "| --- | --- | ---: | ---: |",
        "| 2 | 0.6 | 0.6 | 1 |",
        "| 10 | 0.5 | 0.5 | 2 |",
        "| 10 | 0.6 | 0.6 | 3 |",
    ]


def test_means_over_seeds_stand_below(tmp_path: Path, report: Command) -> None:
    made = report(fill(tmp_path, *[run(0.5, 1, 2.0 + seed, seed=seed) for seed in range(3)]))
    assert float(made.csv("table-2.csv")["text refined std"].iloc[0]) == 1.0
    assert "| 3 ± 1 |" in made.out
    assert "deviation over 3 seeds" in made.out


def test_paths_lose_what_they_share_and_methods_imply_their_options(
    tmp_path: Path, report: Command
) -> None:
    one = run(0.5, 1, 2.0, **{"model.path": "/very/long/folder/of/models/one"})
    two = run(0.5, 1, 2.0, **{"model.path": "/very/long/folder/of/models/two"})
    two["config"]["refine"] = {"name": "none"}
    table = report(fill(tmp_path, one, two)).csv("table-2.csv")
    assert (table.index.name, table.columns[0]) == ("model.path", "refine.name")
    assert dict(table["refine.name"]) == {"one": "dsnot", "two": "none"}


def test_words_that_would_break_a_format(tmp_path: Path, report: Command) -> None:
    evil = [
        run(0.5, 1, 2.0, **{"calib.dataset": name}) for name in ("a|b_$x{", "<script>x</script>")
    ]
    made = report(fill(tmp_path, *evil))
    assert "| a\\|b_$x{ | 0.5 | 2 |" in made.out
    assert r"a$|$b\_\$x\{" in made.text("table.tex")
    assert "<script>x" not in made.text("index.html")
    assert list(made.csv("table-2.csv").index) == ["<script>x</script>", "a|b_$x{"]


def test_a_sparse_checkpoint_is_never_called_dense(tmp_path: Path, report: Command) -> None:
    whole = result(method="none", perplexity={"dense": 7.125, "refined": 7.125}, sparsity=0.0)
    sparse = {"prune": "wanda", "refine": "dsnot", "sparsity": 0.6}
    broken = [whole | {"model": {"sparse": value}} for value in ("yes", {}, {"sparsity": None})]
    made = report(fill(tmp_path, whole | {"model": {"sparse": sparse}}))
    assert "dense" not in made.out
    assert "7.125" in made.out
    (run,) = load(tmp_path)[0]
    assert run.method == "wanda+dsnot 60 %"
    assert run.metric("perplexity", "wikitext2", "dense") is None
    for number, content in enumerate(broken):
        (run,) = load(fill(tmp_path / f"broken{number}", content))[0]
        assert run.method == "dense"


def test_what_the_runs_warn_of_is_below_the_tables(tmp_path: Path, report: Command) -> None:
    runs = [
        result(perplexity=1.0 + seed, seed=seed) | {"warnings": [f"number {seed} is worse"]}
        for seed in range(14)
    ]
    made = report(fill(tmp_path, *runs, result(perplexity=3.5, seed=99) | {"warnings": "text"}))
    assert "Note: run-03: number 3 is worse." in made.out
    assert "run-12: " not in made.out
    assert "Note: 2 more warnings are in the result files." in made.out
    assert "run-03: number 3 is worse." in made.text("index.html")
