"""The price of a run, from given rates."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dsnot_exp.config import EvalConfig
from dsnot_exp.run.block_rate import BlockRate, Collecting, costly
from dsnot_exp.run.forecast import price
from dsnot_exp.run.layer_rate import LayerRates
from dsnot_exp.run.model_shape import ModelShape
from dsnot_exp.run.rates import Rates
from dsnot_exp.run.work import PlannedRun
from tests.run.test_rates import BASE, run_of
from tests.run.test_rates import shape as shape

BLOCKS, TOKENS = 4, 4 * 64  # of tinyworld; of its calibration here
TEXT = 1 << 14  # tokens of tinyworld's test text


class Alike(LayerRates):
    """Every layer takes a second, and half of it where it shares its input."""

    def layer(self, rows: int, width: int, again: bool = False) -> float:
        return 0.5 if again else 1.0


def rates_of(run: PlannedRun, processes: int = 1, copy: float = 0.0) -> Rates:
    rates = Rates(processes)
    collecting = {costly(r.needs, r.dense_stream): Collecting(3.0, 0.002) for r in run.recipes}
    shared = frozenset({"self_attn.k_proj", "self_attn.v_proj", "mlp.up_proj"})
    rates.blocks[run.shape.key] = BlockRate(0.001, 0.01, collecting, copy, 0, shared)
    return rates


@pytest.fixture(autouse=True)
def _known_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    def of_layers(self: Rates, run: PlannedRun, recipe: Any) -> LayerRates:
        return Alike(recipe, run.shape.dtype, run.plan.device, 1)

    monkeypatch.setattr(Rates, "of_layers", of_layers)


def test_a_walk_is_its_forwards_and_its_layers(shape: ModelShape) -> None:
    run = run_of(shape)
    forwards = BLOCKS * (3 + TOKENS * 0.002) + (BLOCKS - 1) * TOKENS * 0.001
    layers = BLOCKS * (4 + 3 * 0.5)  # q, o, gate, down; k, v, up
    found = price(run, rates_of(run))
    assert found.walk == found.initial == pytest.approx(forwards + layers)
    assert found.evaluation == pytest.approx(TEXT * (BLOCKS * 0.001 + 0.01))


def test_magnitude_alone_makes_no_forward(shape: ModelShape) -> None:
    run = run_of(shape, prune={"name": "magnitude"})
    assert price(run, rates_of(run)).walk == pytest.approx(BLOCKS * 5.5)


def test_processes_share_forwards_and_rows(shape: ModelShape) -> None:
    run = run_of(shape)
    alone, shared = price(run, rates_of(run)), price(run, rates_of(run, processes=2))
    assert (alone.walk, alone.evaluation) != (None, None)
    assert shared.evaluation == pytest.approx((alone.evaluation or 0) / 2)
    once = BLOCKS * 3  # what is done in every process
    assert shared.walk == pytest.approx(((alone.walk or 0) - once) / 2 + once)


def test_blocks_that_are_brought_to_the_device(
    shape: ModelShape, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of(shape)
    whole = price(run, rates_of(run, copy=100))
    monkeypatch.setattr(ModelShape, "whole", lambda *_: False)
    parts = price(run, rates_of(run, copy=100))
    assert (parts.walk or 0) - (whole.walk or 0) == pytest.approx(BLOCKS * 100)
    assert (parts.evaluation or 0) - (whole.evaluation or 0) == pytest.approx(BLOCKS * 100)


def test_what_is_evaluated(shape: ModelShape) -> None:
    few = EvalConfig(name="ppl", perplexity=["tinyworld", "c4"], blocks=3, seqlen=32)
    run = run_of(shape, eval=few)
    assert run.evaluated() == 2 * 3 * 32
    assert run_of(shape, eval=replace(few, blocks=None)).evaluated() == TEXT + 256 * 32
    assert price(run, rates_of(run)).evaluation == pytest.approx(192 * (BLOCKS * 0.001 + 0.01))


def test_what_is_not_foreseen(shape: ModelShape) -> None:
    lora = run_of(shape, finetune={"name": "lora", "dataset": "tinyworld"})
    found = price(lora, rates_of(lora))
    assert found.walk is None
    assert found.initial is not None
    for changes in (
        {"reconstruct": {"name": "block"}},
        {"allocate": {"name": "fisher"}},
    ):
        run = run_of(shape, **changes)
        assert price(run, rates_of(run)).walk is None
    dense = run_of(shape, prune={"name": "none"})
    assert price(dense, rates_of(dense)).walk is None
    assert price(dense, rates_of(dense)).evaluation is not None
    assert price(dense, Rates()).evaluation is None
    assert BASE.refine == {"name": "none"}
