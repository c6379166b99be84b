"""The figures: what is drawn, what the legend names, and that they are the same every time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dsnot_exp.report.build import build
from dsnot_exp.report.error_plot import error_map, multiples
from dsnot_exp.report.plots import pictures
from dsnot_exp.report.runs import Run, load
from dsnot_exp.report.sparsity_plot import sparsity
from dsnot_exp.report.time_plot import time_memory
from dsnot_exp.report.zero_shot_plot import zero_shot
from tests.report.folders import fill, result


def read(folder: Path, *results: dict[str, Any]) -> list[Run]:
    return load(fill(folder, *results))[0]


def ran(method: str, value: float, amount: float = 0.5, **options: Any) -> dict[str, Any]:
    stages = {"dense": 5.0, "refined": value}
    return result("m", method, stages, **{"sparsity": amount, **options})


def named(figure: Any) -> list[str]:
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def test_perplexity_with_dense_bars_over_seeds_and_patterns(tmp_path: Path) -> None:
    runs = [ran("wanda", v, s, seed=seed) for s, v in ((0.5, 10.0), (0.65, 20.0))
            for seed, v in ((0, v), (1, v + 2.0))]  # fmt: skip
    runs += [ran("wanda+dsnot", 30.0, pattern="2:4"), ran("wanda", 35.0, 0.75, pattern="1:4")]
    drawn = sparsity(read(tmp_path, *runs))
    assert drawn is not None
    _, caption, figure = drawn
    (axis,) = figure.axes
    assert list(axis.get_xticks()) == [50.0, 65.0, 75.0]
    assert named(figure) == ["Dense", "Wanda", "Wanda + DSnoT", "1:4", "2:4"]
    assert "sample standard deviation" in caption
    lines = {c.get_label(): c for c in axis.containers}
    assert list(lines["Wanda"].lines[0].get_xdata()) == [50.0, 65.0]
    assert list(lines["Wanda"].lines[0].get_ydata()) == [11.0, 21.0]
    assert lines["Wanda"].has_yerr
    assert not lines["Wanda + DSnoT"].has_yerr
    assert any(set(line.get_ydata()) == {5.0} for line in axis.lines)


def test_no_curve_of_one_sparsity(tmp_path: Path) -> None:
    assert sparsity(read(tmp_path, ran("wanda", 9.0), ran("sparsegpt", 8.0))) is None


def layers(scale: float, kinds: tuple[str, ...] = ("self_attn.q", "mlp.up")) -> list[dict]:
    return [
        {"layer": f"model.layers.{block}.{kind}", "relative_before": 0.2, "expected_before": 2.0,
         "relative_after": 0.2 * scale, "expected_after": 2.0 * scale}
        for block in range(3) for kind in kinds
    ]  # fmt: skip


def test_errors_have_a_panel_for_each_kind_of_the_refined_run(tmp_path: Path) -> None:
    runs = read(
        tmp_path, ran("wanda", 8.0, reconstruction=layers(1.0)),
        ran("wanda+dsnot", 9.0, reconstruction=layers(0.5)),
        ran("wanda+dsnot", 7.0, 0.4, reconstruction=layers(0.25)),
    )  # fmt: skip
    drawn = multiples(runs, "relative")
    assert drawn is not None
    assert [axis.get_title() for axis in drawn[2].axes] == ["q", "up"]
    assert named(drawn[2]) == ["Wanda + DSnoT, 40 %, before", "Wanda + DSnoT, 40 %, after"]
    before, after = drawn[2].axes[0].lines
    assert (list(before.get_ydata()), list(after.get_ydata())) == ([0.2] * 3, [0.05] * 3)
    mapped = error_map(runs)
    assert mapped is not None
    axes = mapped[2].axes[:3]
    assert [axis.get_title() for axis in axes] == ["before", "after", "change"]
    grids = [axis.images[0].get_array() for axis in axes]
    assert [grid.shape for grid in grids] == [(3, 2)] * 3
    assert [grid[0][0] for grid in grids] == pytest.approx([0.2, 0.05, -75.0])


def test_an_unrefined_run_has_a_heat_map_without_a_change(tmp_path: Path) -> None:
    drawn = error_map(read(tmp_path, ran("wanda", 8.0, reconstruction=layers(1.0))))
    assert drawn is not None
    assert [axis.get_title() for axis in drawn[2].axes][:1] == ["error"]
    assert "red" not in drawn[1]


def test_bars_of_tasks_have_their_standard_errors(tmp_path: Path) -> None:
    def scores(value: float) -> dict[str, Any]:
        stages = {"dense": {"acc": 0.9, "acc_stderr": 0.01},
                  "refined": {"acc": value, "acc_stderr": 0.05}}  # fmt: skip
        return {"boolq": stages, "rte": stages}

    runs = [ran(m, 9.0, zero_shot=scores(v)) for m, v in (("wanda", 0.5), ("sparsegpt", 0.6))]
    drawn = zero_shot(read(tmp_path, *runs))
    assert drawn is not None
    (axis,) = drawn[2].axes
    assert named(drawn[2]) == ["Dense", "Wanda", "SparseGPT"]
    assert [tick.get_text() for tick in axis.get_xticklabels()] == ["boolq", "rte", "mean"]
    heights = [round(bar.get_height(), 6) for bar in axis.patches]
    assert heights == [90.0] * 3 + [50.0] * 3 + [60.0] * 3
    bars = [c.lines[2][0].get_segments() for c in axis.containers if hasattr(c, "has_yerr")]
    lengths = [round(segment[1][1] - segment[0][1], 6) for found in bars for segment in found]
    assert lengths == [2.0, 2.0, 1.414214, *[10.0, 10.0, 7.071068] * 2]


def test_a_reused_sparse_model_has_no_time_of_its_own(tmp_path: Path) -> None:
    times = {"prune": 3.0, "load": 0.001, "evaluate": 7.0, "total": 10.0}
    runs = [ran(m, 9.0, timing_s=times) for m in ("wanda", "sparsegpt")]
    runs[1]["reused_stages"] = ["sparse"]
    drawn = time_memory(read(tmp_path, *runs))
    assert drawn is not None
    axis = drawn[2].axes[0]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["m, Wanda, 50 %"]
    assert axis.get_legend_handles_labels()[1] == ["prune", "evaluate"]  # load cannot be seen


def test_the_files_are_the_same_every_time_and_have_no_date(tmp_path: Path) -> None:
    runs = read(tmp_path, *[ran("wanda", v, s) for s, v in ((0.5, 10.0), (0.7, 20.0))])
    first, second = (list(pictures(runs)) for _ in range(2))
    assert [picture.name for picture in first] == ["perplexity_sparsity"]
    assert first == second
    assert first[0].files.keys() == {"png", "svg", "pdf"}
    assert first[0].files["pdf"].startswith(b"%PDF")
    for kind in ("svg", "pdf"):
        assert b"Date" not in first[0].files[kind]
        assert b"date>" not in first[0].files[kind]


def test_tables_of_cost_leave_a_reused_sparse_model_out(tmp_path: Path) -> None:
    times = {"calibrate": 1.0, "prune": 3.0, "evaluate": 7.0, "total": 10.0}
    runs = [ran(m, 9.0, timing_s=times, memory={"peak_rss_bytes": 2**30})
            for m in ("wanda", "sparsegpt")]  # fmt: skip
    runs[1] |= {"reused_stages": ["sparse"], "timing_s": {"evaluate": 7.0, "calibrate": 0.0}}
    found = build(read(tmp_path, *runs), "any")
    (ranking,) = found.ranked
    costs = {one.name: (one.forwards.value, one.over.value, one.memory.value)
             for one in ranking.standings}  # fmt: skip
    assert costs == {"wanda": (1.0, 3.0, 1.0), "sparsegpt": (None, None, None)}
    assert found.notes == [
        "1 run took the sparse model from an earlier run: its time and memory are left out."
    ]


def test_a_long_legend_is_inside_its_figure(tmp_path: Path) -> None:
    data = "a-calibration-text-with-a-name-that-is-rather-long.txt"
    runs = [ran("wanda+dsnot", 9.0 + s, s, **{"calib.dataset": text, "refine.max_cycles": 5})
            for s in (0.5, 0.7) for text in (f"/x/{data}", f"/x/another-{data}")]  # fmt: skip
    drawn = sparsity(read(tmp_path, *runs))
    assert drawn is not None
    figure = drawn[2]
    figure.canvas.draw()
    (legend,) = figure.legends
    box = legend.get_window_extent()
    assert 0 <= box.x0 < box.x1 <= figure.bbox.width
    assert box.y1 <= figure.axes[0].get_tightbbox().y0
