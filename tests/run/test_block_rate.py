"""What is measured on one block of random weights."""

from __future__ import annotations

import pytest
import torch

from dsnot_exp.methods.statistics import Statistic
from dsnot_exp.models.blocks import find_blocks
from dsnot_exp.models.made import Made
from dsnot_exp.run import block_rate
from tests.support.families import hollow_of

NEEDS = frozenset({Statistic.MEAN, Statistic.GRAM})


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(block_rate, "TRIAL_S", 1e-4)


def made(family: str, **changes: int) -> Made:
    model = hollow_of(family, **changes)
    return Made.of(model, find_blocks(model), torch.device("cpu"), [])


@pytest.mark.parametrize("family", ["llama", "opt", "mixtral"])
def test_a_block_of_any_family_is_measured(family: str) -> None:
    model = made(family)
    state = torch.random.get_rng_state()
    plain, followed = (NEEDS, False), (NEEDS | {Statistic.DRIFT}, True)
    rough = block_rate.rough_token(model, 32)
    rate = block_rate.block_rate(model, [plain, followed, (frozenset(), False)], 32, 2, rough)
    assert rough > 0
    assert min(rate.token, rate.head) > 0
    assert {*rate.collecting} == {block_rate.costly(*plain), block_rate.costly(*followed)}
    assert all(collecting.token > 0 for collecting in rate.collecting.values())
    assert (rate.copy, rate.beside) == (0, 0)  # of a GPU
    assert torch.equal(torch.random.get_rng_state(), state)  # runs draw as without an estimate
    assert all(p.is_meta for p in model.blocks[1].parameters())  # the weights are gone


def test_linears_with_the_same_input_share_what_derives_from_it() -> None:
    model = made("llama")
    rate = block_rate.block_rate(model, [(NEEDS, False)], 32, 2, 1e-5)
    assert rate.shared == {"self_attn.k_proj", "self_attn.v_proj", "mlp.up_proj"}
