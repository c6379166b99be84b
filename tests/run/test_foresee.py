"""What is known of configured runs before they run."""

from __future__ import annotations

import pickle
from dataclasses import replace

import pytest

from dsnot_exp.config import Config, ModelConfig
from dsnot_exp.models.source import locate
from dsnot_exp.run import rates
from dsnot_exp.run.disk import kept_bytes
from dsnot_exp.run.foresee import Foreseen, foresee
from dsnot_exp.run.model_shape import model_key
from dsnot_exp.run.plan import make_plan
from dsnot_exp.run.prepare import prepare
from dsnot_exp.run.price import Price
from tests.run.test_rates import BASE

DSNOT = replace(BASE, refine={"name": "dsnot", "max_cycles": 2}, save=True)
KEY = model_key(BASE.model)


def foreseen(*runs: Config, measures: bool = False) -> Foreseen:
    return foresee(runs, {KEY: locate(BASE.model)}, measures=measures)


def test_what_a_run_writes_is_what_its_preparation_foresees() -> None:
    """Exactly, for a run that has nothing from earlier ones."""
    found = foreseen(DSNOT)
    own = replace(DSNOT, out="/no/such/folder")
    _, inputs = prepare(make_plan(own))
    (written,) = found.written
    assert written is not None
    assert written.state == inputs.state_bytes
    stages = 2  # the `pruned` one is kept too
    assert stages * written.kept == inputs.kept_bytes
    needs = found.models[KEY]
    assert written.saved == needs.bytes
    assert (needs.parameters, needs.dtype) == (4_416_320, "bfloat16")
    assert (needs.whole, needs.calibration) == (None, None)  # nothing was measured
    assert found.prices == [Price()]


def test_kept_masks_and_weights() -> None:
    assert kept_bytes("none", 80, 2) == 0
    assert kept_bytes("masks", 81, 2) == 11
    assert kept_bytes("weights", 80, 2) == 20 + 160


def test_a_model_that_is_not_located_or_known_has_no_price() -> None:
    other = replace(BASE, model=ModelConfig(name="hub", path="acme/toy"))
    far = replace(BASE, calib=replace(BASE.calib, seqlen=4096))
    found = foreseen(other, far, BASE)
    assert found.written[:2] == [None, None]
    assert found.written[2] is not None
    assert {*found.models} == {KEY}
    assert "4096: this model has 512 positions" in found.refused[KEY]


def test_prices_travel_between_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "SHORT_S", 0)
    monkeypatch.setattr(rates, "LAYERS_S", (0, 0))
    found = foreseen(BASE, DSNOT, measures=True)
    assert all(price.walk and price.initial and price.evaluation for price in found.prices)
    seconds, tokens = found.models[KEY].calibration or (0, 0)
    assert seconds > 0
    assert tokens == 4 * 64
    assert (found.device, found.memory, found.models[KEY].peak) == ("cpu", 0, None)
    assert pickle.loads(pickle.dumps(found)) == found
