"""Runs that differ in one part of their composition: never in one cell, each under its own name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dsnot_exp.report.runs import VARIANT, Run, load
from dsnot_exp.report.tables.layouts import FURTHER, LAYOUTS, Layout
from dsnot_exp.report.tables.study import tables
from dsnot_exp.results.method_names import pretty
from tests.report.folders import Report, fill, result

Command = Callable[[Path], Report]
TIMES = {"calibrate": 1.0, "prune": 10.0, "refine": 100.0}
EVERY = [(name, layout) for name, first in LAYOUTS.items() for layout in
         (first, *FURTHER.get(name, ()))]  # fmt: skip
# What one of two runs has; the other one has the usual method or value, or an older version.
PARTS: list[dict[str, Any]] = [
    {"allocate.name": "fisher"},
    {"reconstruct.name": "cg"},
    {"calib.target.alpha": 0.5},
    {"calib.target.beta": 0.25},
    {"refine.name": "swaps"},
    {"prune.schedule": "full"},
    {"allocate.name": "uniform", "reconstruct.name": "none", "allocate.by": "block"},
]


def read(folder: Path, *results: dict[str, Any]) -> list[Run]:
    return load(fill(folder, *results))[0]


def composed(method: str = "wanda+dsnot", value: float = 10.0, **options: Any) -> dict[str, Any]:
    score = {"boolq": {"refined": {"acc": value / 100}, "dense": {"acc": 0.9}}}
    stages = {"dense": 2.0, "refined": value}
    times = {name: value * seconds for name, seconds in TIMES.items()}
    return result("m", method, stages, zero_shot=score, timing_s=times, sweep="x", **options)


@pytest.mark.parametrize("part", PARTS, ids=str)
@pytest.mark.parametrize(("name", "layout"), EVERY, ids=lambda v: getattr(v, "study", v))
def test_no_cell_mixes_two_compositions(
    name: str, layout: Layout, part: dict[str, Any], tmp_path: Path
) -> None:
    """Also not as two seeds of one composition."""
    unusual = {"refine.max_cycles": 7, "calib.samples": 7, "seed": 1}.get(str(layout.study))
    study = {layout.study: unusual} if layout.study else {}
    usual = [composed("magnitude", 1.0, **{"refine.max_cycles": 50})] * 6 if study else []
    other = {**study, **part} if layout.study not in (None, "seed") else {**part, "seed": 2}
    pair = [composed(value=3.0, **study), composed(value=7.0, **other)]
    runs = read(tmp_path, *usual, *pair)
    cells = [cell for table in tables(name, layout, runs) for row in table.cells for cell in row]
    found = {round(cell.value, 6) for cell in cells if cell.value is not None}
    for scale in TIMES.values() if layout.measure == "seconds" else (1.0,):
        assert {3.0 * scale, 7.0 * scale} <= found
        assert 5.0 * scale not in found  # the mean


def test_two_contents_of_a_file_of_rules_are_two_compositions(tmp_path: Path) -> None:
    options = {"allocate.name": "file", "allocate.path": "rules.yaml"}
    contents = [composed("wanda", v, seed=s, **options) for s, v in enumerate((3.0, 7.0))]
    for share, run in zip((0.5, 0.7), contents, strict=True):
        run["sparsity"]["targets"] = {"a": share}
    found = list(tables("table1", LAYOUTS["table1"], read(tmp_path, *contents)))
    assert len(found) == 2


def test_every_part_is_in_the_name(tmp_path: Path) -> None:
    full = {
        "allocate.name": "fisher", "reconstruct.name": "cg", "calib.target.alpha": 0.5,
        "calib.target.beta": 0.0,
    }  # fmt: skip
    runs = read(
        tmp_path, composed("alps", **full), composed(), composed("none", **full),
        composed("sparsegpt", **{"calib.target.beta": 0.25}),
    )  # fmt: skip
    assert [run.variant for run in runs] == [
        "alps+fisher+cg, target 0.5/0", "wanda+dsnot, 50 cycles", "dense",
        "sparsegpt, target 0/0.25",
    ]  # fmt: skip
    assert pretty(runs[0].variant) == "ALPS + fisher + CG, target 0.5/0"
    assert pretty(runs[1].variant) == "Wanda + DSnoT, 50 cycles"
    assert [run.axis("initializer") for run in runs] == ["alps", "wanda", "dense", "sparsegpt"]


def test_a_change_is_against_the_same_composition_without_its_refiner(
    tmp_path: Path, report: Command
) -> None:
    options = {"allocate.name": "fisher", "reconstruct.name": "cg", "calib.target.alpha": 0.5}
    usual = {"allocate.name": "uniform", "reconstruct.name": "none"}
    runs = [
        composed("wanda", 40.0, **usual), composed("wanda", 20.0, **options),
        composed("wanda+dsnot", 15.0, **options), composed("wanda+swaps", 30.0, **usual),
    ]  # fmt: skip
    runs[3]["config"]["refine"] = {"name": "swaps"}
    for run in runs:
        run["config"]["sweep"] = "real"
    made = report(fill(tmp_path / "real", *runs))
    rows = {row[0]: row[1] for row in made.rows() if len(row) == 2}
    assert rows == {
        VARIANT: "60 %", "Dense": "2.00", "Wanda": "40.00",
        "Wanda + swaps": "30.00 ↓ (-25.0 %)", "Wanda + fisher + CG, target 0.5/0": "*20.00*",
        "Wanda + fisher + DSnoT + CG, 50 cycles, target 0.5/0": "**15.00** ↓ (-25.0 %)",
    }  # fmt: skip


def test_the_cycles_of_one_composition_stand_beside_its_own_mask(tmp_path: Path) -> None:
    runs = read(
        tmp_path, *[composed(value=c + 10.0, **{"refine.max_cycles": c}) for c in (50, 1, 5)],
        composed("wanda", 40.0), composed("wanda", 60.0, **{"reconstruct.name": "cg"}),
        composed("wanda+swaps", 70.0, **{"refine.max_cycles": None}),
    )  # fmt: skip
    runs[-1].options.pop("refine.max_cycles")
    cycles = FURTHER["real"][0]
    (table,) = tables("real", cycles, runs)
    assert [cell.value for row in table.cells for cell in row] == [40.0, 11.0, 15.0, 60.0]


def test_no_published_figure_beside_a_corrected_target(tmp_path: Path, report: Command) -> None:
    for alpha, shown in ((0.0, True), (0.5, False)):
        run = result(method="sparsegpt", perplexity=10.0, sweep="table1")
        run["config"]["calib"]["target"] = {"alpha": alpha, "beta": 0.0}
        made = report(fill(tmp_path / str(alpha), run))
        assert ("(10.14, -0.14)" in made.out) == shown


def test_a_running_time_has_the_seconds_of_a_reconstruction(tmp_path: Path) -> None:
    run = composed("wanda", **{"reconstruct.name": "cg"})
    run["timing_s"]["reconstruct"] = 7.5
    (table,) = tables("runtime", LAYOUTS["runtime"], read(tmp_path, run))
    assert "reconstruct" in table.columns
    assert 7.5 in [cell.value for row in table.cells for cell in row]
