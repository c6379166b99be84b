"""The heat map of an allocation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dsnot_exp.report.allocation_plot import allocation
from dsnot_exp.report.runs import Run, load
from tests.report.folders import fill, result

DENSER_OUTWARDS = {f"model.layers.{b}.{n}": s for b, s in ((0, 0.5), (1, 0.7)) for n in ("q", "up")}


def runs(folder: Path, *targets: Any) -> list[Run]:
    results = [result(perplexity=7.0, seed=i) for i, _ in enumerate(targets)]
    for found, own in zip(results, targets, strict=True):
        found["sparsity"]["targets"] = own
    return load(fill(folder, *results))[0]


def test_a_cell_per_layer_and_the_mean_over_experts(tmp_path: Path) -> None:
    targets = DENSER_OUTWARDS | {
        "model.layers.1.mlp.experts.0.down": 0.2,
        "model.layers.1.mlp.experts.1.down": "2:8",
    }
    drawn = allocation(runs(tmp_path, targets))
    assert drawn is not None
    _, caption, figure = drawn
    axis, bar = figure.axes
    grid = axis.images[0].get_array()
    assert grid.tolist() == [[0.5, 0.5, None], [0.7, 0.7, pytest.approx(0.475)]]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["q", "up", "down"]
    assert "mean over the experts" in caption
    assert bar.get_ylabel() == "sparsity"


def test_an_allocation_is_drawn_once_and_only_where_layers_differ(tmp_path: Path) -> None:
    uniform = dict.fromkeys(DENSER_OUTWARDS, 0.6)
    other = DENSER_OUTWARDS | {"model.layers.0.q": 0.4}
    drawn = allocation(runs(tmp_path, DENSER_OUTWARDS, uniform, DENSER_OUTWARDS, other))
    assert drawn is not None
    assert len([axis for axis in drawn[2].axes if axis.images]) == 2
    for nothing in (uniform, None, [], {"model": "a", "x.1.q": None, "x.2.q": "2:0"}):
        assert allocation(runs(tmp_path / str(nothing)[:9], nothing)) is None


def test_panels_that_differ_in_a_seed_alone_give_way_to_others(tmp_path: Path) -> None:
    """Six allocations, of which the last alone has another sparsity."""
    found = [DENSER_OUTWARDS | {"model.layers.0.q": 0.4 + 0.01 * i} for i in range(6)]
    results = [result(perplexity=7.0, seed=i) for i in range(6)]
    for one, own in zip(results, found, strict=True):
        one["sparsity"]["targets"] = own
    results[5]["config"]["sparsity"] = 0.7
    drawn = allocation(load(fill(tmp_path, *results))[0])
    assert drawn is not None
    _, caption, figure = drawn
    titles = [axis.get_title() for axis in figure.axes if axis.images]
    assert len(titles) == 4
    assert len(set(titles[:2])) == 2
    assert len(set(titles)) == 2
    assert "Shown: 4 of 6 allocations." in caption
