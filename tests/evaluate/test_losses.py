"""Losses from the logits of a few positions at a time, in every family."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from dsnot_exp.evaluate import losses as module
from dsnot_exp.evaluate.losses import Losses, run_body
from tests.support.families import FAMILIES, build, tokens

WHOLE: set[str] = set()  # families whose head receives no module's output


@torch.no_grad()
def direct(model: torch.nn.Module, ids: Tensor) -> Tensor:
    """From the logits of all positions."""
    logits = model(input_ids=ids, use_cache=False).logits.double()
    rows = zip(logits, ids, strict=True)
    return torch.stack([cross_entropy(row[:-1], own[1:]) for row, own in rows])


@pytest.mark.parametrize("family", sorted(FAMILIES))
@torch.no_grad()
def test_they_are_those_of_the_whole_logits(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOGITS", 5 * 96)  # five positions at a time
    model, ids = build(family), tokens(3, 13)
    found = Losses(model)
    torch.testing.assert_close(found(ids), direct(model, ids), rtol=1e-5, atol=1e-6)
    assert found.whole == (family in WHOLE)


@torch.no_grad()
def test_the_body_runs_once_and_the_last_position_has_no_logits() -> None:
    model, ids = build("llama"), tokens(3, 13)
    positions, blocks = [], []
    model.lm_head.register_forward_hook(lambda m, a, out: positions.append(out.shape[:2].numel()))
    model.model.layers[0].register_forward_hook(lambda m, a, out: blocks.append(1))
    Losses(model)(ids)
    assert sum(positions) == 3 * 12
    assert len(blocks) == 1


@torch.no_grad()
def test_the_head_receives_plain_strides() -> None:
    """Of a view of the whole batch, half-precision products are far slower on a CPU."""
    model, strides = build("llama"), list[tuple[int, ...]]()
    model.lm_head.register_forward_pre_hook(lambda _, args: strides.append(args[0].stride()))
    Losses(model)(tokens(3, 9))
    strides = strides[1:]  # the body's forward stops at the head
    assert strides == [(8 * 32, 32, 1)] * 3  # eight positions of width 32


def test_the_models_own_forward_comes_back() -> None:
    model, ids = build("gemma2"), tokens(2, 9)
    before = model(input_ids=ids).logits
    Losses(model)(ids)
    assert torch.equal(model(input_ids=ids).logits, before)
    assert "forward" not in vars(model.model)


@torch.no_grad()
def test_a_head_that_receives_something_else_gets_the_whole_model() -> None:
    model, ids = build("llama"), tokens(2, 9)
    model.lm_head.register_forward_pre_hook(lambda m, args: (args[0] / 2,))
    assert run_body(model, ids) is None
    torch.testing.assert_close(Losses(model)(ids), direct(model, ids), rtol=1e-5, atol=1e-6)
