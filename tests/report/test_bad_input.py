"""Folders that hold nothing, files that cannot be read, runs that do not belong together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.report.folders import Report, fill, result

Command = Callable[[Path], Report]


def test_a_folder_that_is_not_there_names_those_that_are(tmp_path: Path, report: Command) -> None:
    fill(tmp_path / "table1", result(perplexity=1.0))
    made = report(tmp_path / "tabel1")
    assert (made.code, made.out) == (2, "")
    assert made.err.count("\n") == 1
    assert f"no such folder; there are results in {tmp_path / 'table1'}" in made.err


def test_a_folder_without_results_says_what_it_holds(tmp_path: Path, report: Command) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "notes.txt").touch()
    made = report(tmp_path / "a")
    assert made.code == 2
    assert "holds notes.txt, but no result.json; give a folder of runs" in made.err
    assert not made.folder.exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"schema": 1, "config"', "delimiter"),
        ("", "Expecting value"),
        ("[]", "not a result"),
        ('{"schema": 99}', "schema 99 is newer"),
        ('{"schema": 1, "metrics": {}}', "config is missing"),
        ('{"schema": 1, "config": 3, "metrics": {}}', "config is not a mapping"),
        ('{"schema": 1, "config": {}, "metrics": {"perplexity": {"a": 1}}}', "metrics.perplexity"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_what_cannot_be_read_is_named_and_the_rest_reported(
    text: str, words: str, tmp_path: Path, report: Command
) -> None:
    made = report(fill(tmp_path, result(perplexity=10.5), text))
    assert made.code == 1
    assert made.err.count("\n") == 1
    assert "run-01/result.json: skipped" in made.err
    assert words in made.err
    assert "10.5" in made.out
    assert "1 result file could not be read" in made.text("index.html")


def test_nothing_that_can_be_read(tmp_path: Path, report: Command) -> None:
    made = report(fill(tmp_path, "{"))
    assert (made.code, made.out) == (1, "")
    assert "none of its result files can be read" in made.err


def test_several_sweeps_have_a_table_each(tmp_path: Path, report: Command) -> None:
    fill(tmp_path / "one", result(perplexity=10.0, sweep="table1"))
    fill(tmp_path / "deep" / "two", result(perplexity=20.0, sweep="cycles"))
    made = report(tmp_path)
    assert made.code == 0
    assert "Results of several sweeps: cycles, table1." in made.out
    assert made.csv().index.name == "refine.max_cycles"
    assert made.csv("table-2.csv").index.name == "method"


def test_what_was_measured_on_different_texts_has_a_table_each(
    tmp_path: Path, report: Command
) -> None:
    runs = [
        result(perplexity=10.0, dataset="c4"),
        result(perplexity=20.0, dataset="ptb"),
        result(method="wanda", perplexity=11.0, dataset="c4"),
        result(perplexity=30.0, dataset="c4", **{"eval.seqlen": 64}),
    ]
    made = report(fill(tmp_path, *runs))
    assert "The runs do not fit in one table; they are split into 3." in made.out
    tables = [made.csv(path.name) for path in sorted(made.folder.glob("table*.csv"))]
    own = [table for table in tables if table.index.name not in ("method", "composition")]
    assert sorted(len(table) for table in own) == [1, 1, 2]


def test_what_runs_do_not_share_is_said(tmp_path: Path, report: Command) -> None:
    runs = [result(perplexity=10.0 + i, seed=i, device=f"cuda:{i}", threads=i) for i in range(2)]
    runs[0]["environment"]["git"] = "b" * 40 + "-dirty"
    made = report(fill(tmp_path, *runs))
    for words in (
        "different code commits: bbbbbbbbbbbb-dirty (1 run), aaaaaaaaaaaa (1 run)",
        "different devices: cuda:0 (1 run), cuda:1 (1 run)",
        "different numbers of threads",
        "1 run had uncommitted code changes",
    ):
        assert words in made.out
        assert words in made.text("index.html")


def test_an_older_reports_files_go(tmp_path: Path, report: Command) -> None:
    folder = fill(tmp_path / "a", *[result(perplexity=10.0, seed=i) for i in range(2)])
    assert (report(folder).folder / "table-2.csv").exists()
    (folder / "run-01" / "result.json").unlink()
    (folder / "report" / "mine.txt").touch()
    left = {path.name for path in report(folder).folder.iterdir()}
    assert left == {"table.md", "table.tex", "table.csv", "index.html", "mine.txt"}
