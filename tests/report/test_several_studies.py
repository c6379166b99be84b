"""`real`: one folder, a table for each of its studies, each with its own runs only."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.report.folders import Report, fill, result

Command = Callable[[Path], Report]


def real(value: float, method: str = "wanda", cycles: Any = None, **options: Any) -> dict[str, Any]:
    options = {"calib.samples": 32, **options}
    options |= {"refine.max_cycles": cycles} if cycles is not None else {}
    stages = {"dense": 5.0, "refined": value}
    return result("smollm2-q4", method, stages, "second.txt", sweep="real", **options)


MAIN = [
    real(20.0), real(16.0, "wanda+dsnot", 50), real(18.0, "wanda+dsnot", "auto"),
    real(25.0, "sparsegpt", sparsity=0.7), real(30.0, "sparsegpt+dsnot", 50, sparsity=0.7),
    real(7.0, sparsity=0.5, pattern="2:4"), real(6.0, "magnitude"),
]  # fmt: skip
CYCLES = [real(19.0, "wanda+dsnot", c) for c in (1, 20)]
SAMPLES = [real(21.0 + s / 100, **{"calib.samples": s}) for s in (8, 128)]
SEEDS = [real(20.5, seed=1), real(22.0, seed=2)]


@pytest.fixture
def made(tmp_path: Path, report: Command) -> Report:
    return report(fill(tmp_path / "real", *MAIN, *CYCLES, *SAMPLES, *SEEDS))


def test_the_main_table_tells_cycles_apart_and_shows_what_refinement_changes(made: Report) -> None:
    rows = made.rows()
    assert rows[0] == ["method and cycles", "60 %", "70 %", "2:4"]
    assert [row[0] for row in rows[1:8]] == [
        "Dense", "Magnitude", "Wanda", "Wanda + DSnoT, 50 cycles", "Wanda + DSnoT, auto",
        "SparseGPT", "SparseGPT + DSnoT, 50 cycles",
    ]  # fmt: skip
    assert rows[1][1:] == ["5.00"] * 3
    assert rows[3][1] == "20.00"
    assert rows[4][1] == "*16.00* ↓ (-20.0 %)"
    assert rows[7][2] == "30.00 ↑ (+20.0 %)"
    worse = "better than its initial mask in 2 of 3 cells. Not better: sparsegpt+dsnot, 50 cycles:"
    for name in ("table.md", "table.csv", "index.html", "table.tex"):
        assert worse in made.text(name), name
    table = made.csv()
    assert float(table.loc["wanda+dsnot, auto", "60 % change"]) == pytest.approx(-0.1)
    assert table.loc["wanda", "60 % change"] == ""


def test_no_change_is_shown_against_another_initial_mask(tmp_path: Path, report: Command) -> None:
    """Magnitude alone compares over the matrix; before a refiner, within rows."""
    scope = {"prune.scope": "auto"}
    runs = [real(9.0, "magnitude", **scope), real(6.0, "magnitude+dsnot", 50, **scope)]
    made = report(fill(tmp_path / "real", *MAIN[:2], *runs))
    assert made.rows()[3][1] == "**6.00**"
    assert "two initial masks, and no change is shown" in made.out
    made = report(fill(tmp_path / "row" / "real", *MAIN[:2], *(
        real(value, method, cycles, **{"prune.scope": "row"})
        for value, method, cycles in ((9.0, "magnitude", None), (6.0, "magnitude+dsnot", 50))
    )))  # fmt: skip
    assert "6.00" in made.rows()[3][1]
    assert "-33.3 %" in made.rows()[3][1]


def test_every_study_has_only_its_own_runs(made: Report) -> None:
    cycles, samples, seeds = (made.csv(f"table-{n}.csv") for n in (2, 3, 4))
    assert dict(cycles.iloc[:, 0]) == {
        "no refinement": "20.0", "1": "19.0", "20": "19.0", "50": "16.0", "auto": "18.0",
    }  # fmt: skip
    assert dict(samples.iloc[:, 0]) == {"8": "21.08", "32": "20.0", "128": "22.28"}
    assert list(seeds.index) == ["wanda"]
    values = [20.0, 20.5, 22.0]
    assert float(seeds.loc["wanda", "60 %"]) == pytest.approx(statistics.fmean(values))
    assert float(seeds.loc["wanda", "60 % std"]) == pytest.approx(statistics.stdev(values))
    assert "do not fit" not in made.out


def test_studies_without_runs_have_no_table(tmp_path: Path, report: Command) -> None:
    made = report(fill(tmp_path / "real", *MAIN))
    assert [line.split("**")[1] for line in made.out.splitlines() if line.startswith("**")] == [
        "Perplexity on second.txt", "Running time",
    ]  # fmt: skip


def test_typed_values_take_the_place_of_the_usual_ones(tmp_path: Path, report: Command) -> None:
    other = {"calib.samples": 4, "seed": 3, "sparsity": 0.65}
    runs = [real(9.0, **other), real(8.0, "wanda+dsnot", 10, **other)]
    table = report(fill(tmp_path / "real", *runs)).csv()
    assert list(table.index) == ["dense", "wanda", "wanda+dsnot, 10 cycles"]
    assert list(table["65 %"]) == ["5.0", "9.0", "8.0"]
