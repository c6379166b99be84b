"""What is measured for the runs of a sweep, and what is left out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dsnot_exp.config import Config, EvalConfig, ModelConfig
from dsnot_exp.models.source import locate
from dsnot_exp.run import rates as module
from dsnot_exp.run.check_model import settle_lengths
from dsnot_exp.run.model_shape import ModelShape
from dsnot_exp.run.plan import make_plan
from dsnot_exp.run.rates import Rates
from dsnot_exp.run.work import PlannedRun

BASE = Config(
    model=ModelConfig(name="tinyworld"),
    prune={"name": "wanda"},
    refine={"name": "none"},
    allocate={"name": "uniform"},
    reconstruct={"name": "none"},
    sparsity=0.5,
    eval=EvalConfig(name="ppl", perplexity=["tinyworld"]),
)
BASE.calib.dataset, BASE.calib.samples, BASE.calib.seqlen = "tinyworld", 4, 64


@pytest.fixture(scope="module")
def shape() -> ModelShape:
    return ModelShape.of(BASE.model, locate(BASE.model))


def run_of(shape: ModelShape, **changes: Any) -> PlannedRun:
    return PlannedRun(settle_lengths(make_plan(replace(BASE, **changes)), 256), shape)


def test_short_runs_are_not_measured(shape: ModelShape) -> None:
    found = Rates()
    found.measure([run_of(shape)])
    assert found.short
    assert (found.blocks, found.layers, found.absent) == ({}, {}, {})


def test_runs_with_the_same_methods_share_what_is_measured(
    shape: ModelShape, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SHORT_S", 0)
    monkeypatch.setattr(module, "LAYERS_S", (0, 0))
    two, other = {"name": "dsnot", "max_cycles": 2}, {"name": "dsnot", "max_cycles": 3}
    runs = [
        run_of(shape, refine=two),
        run_of(shape, refine=two, sparsity=0.7, seed=1),
        run_of(shape, refine=other),
    ]
    found = Rates()
    found.measure(runs)
    assert {*found.blocks} == {shape.key}
    assert len(found.layers) == 3  # and that of the pruner alone
    first, again, third = (found.of_layers(run, run.recipes[0]) for run in runs)
    assert first is again is not third
    assert all(p.is_meta for p in shape.model.parameters())  # the weights are gone


def test_a_model_that_cannot_be_tried_is_named_with_the_reason(
    shape: ModelShape, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST", 1000)
    found = Rates()
    found.measure([run_of(shape)])
    assert not found.short
    weights = sum(p.numel() for p in shape.blocks[1][0].parameters())
    assert found.absent == {
        shape.key: f"a block of {weights:,} weights is too large to be tried on a CPU"
    }
    monkeypatch.setattr(module, "free_memory", lambda device: 10)
    assert "and 10 are free" in str(module.too_large(shape, run_of(shape).plan.device))
