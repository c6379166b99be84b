"""A model that cannot be pruned to the end is put back bit for bit, and nothing else of it or of
the caller's settings changes."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import dsnot_exp
from dsnot_exp.api.undo import Undo
from dsnot_exp.methods import DSnoT, SparseGPT
from dsnot_exp.walk.solver import BlockSolver
from tests.support.families import build, tokens

IDS = tokens(8, 24)


def bits(model: nn.Module) -> dict[str, Tensor]:
    return {
        name: tensor.detach().clone().view(torch.uint8) if tensor.dim() else tensor.clone()
        for name, tensor in model.state_dict().items()
    }


def same(model: nn.Module, before: dict[str, Tensor]) -> bool:
    now = bits(model)
    return now.keys() == before.keys() and all(torch.equal(now[k], before[k]) for k in before)


def fails_in(monkeypatch: pytest.MonkeyPatch, block: int, error: BaseException) -> list[int]:
    """Have the walk fail once it has pruned this block, before it goes on; the blocks reached."""
    real: Callable[..., Any] = BlockSolver.__call__
    reached: list[int] = []

    def call(self: BlockSolver, view: Any) -> Any:
        solved = real(self, view)
        reached.append(view.index)
        if view.index == block:
            raise error
        return solved

    monkeypatch.setattr(BlockSolver, "__call__", call)
    return reached


METHODS: dict[str, dict[str, Any]] = {
    "mask": {"refine": DSnoT(max_cycles=3)},
    "moved weights": {"prune": SparseGPT(), "refine": None, "reconstruct": "cg"},
    "trained blocks": {"refine": None, "reconstruct": {"name": "block", "epochs": 1}},
}


@pytest.mark.parametrize("error", [RuntimeError("no more"), KeyboardInterrupt()])
@pytest.mark.parametrize("methods", METHODS)
@pytest.mark.parametrize("family", ["llama-tied", "gpt2", "mixtral"])
def test_a_failure_in_block_2_puts_the_model_back(
    family: str, methods: str, error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build(family).to(torch.bfloat16)
    with torch.no_grad():  # bits that a comparison of numbers would not see
        next(model.parameters()).view(-1)[0] = -0.0
    before = bits(model)
    reached = fails_in(monkeypatch, 2, error)
    with pytest.raises(type(error)):
        dsnot_exp.prune(model, calibration=IDS, progress=False, **METHODS[methods])
    assert reached == [0, 1, 2]
    assert same(model, before)
    monkeypatch.undo()
    dsnot_exp.prune(model, calibration=IDS, progress=False, **METHODS[methods])
    assert not same(model, before)


def test_only_what_has_changed_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[int] = []
    real: Callable[..., None] = Undo.after

    def after(self: Undo, block: nn.Module) -> None:
        real(self, block)
        changed = self.reached[id(block)].values()
        kept.append(sum(c.values.nbytes + (0 if c.bits is None else len(c.bits)) for c in changed))

    monkeypatch.setattr(Undo, "after", after)
    model = build("llama")
    sparse = dsnot_exp.prune(model, calibration=IDS, refine=None, sparsity=0.25, progress=False)
    weights = sparse.layers.weights.sum()
    assert sum(kept) == pytest.approx(weights * 4 * (0.25 + 1 / 32), rel=0.02)


def test_a_second_ctrl_c_waits_until_the_model_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build("llama")
    before = bits(model)
    real: Callable[..., Tensor] = Tensor.copy_
    undoing: list[bool] = []

    def copy(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if undoing and undoing.pop():
            raise KeyboardInterrupt
        return real(self, *args, **kwargs)

    restore: Callable[..., None] = Undo.restore

    def interrupted(self: Undo) -> None:
        undoing.append(True)
        restore(self)

    fails_in(monkeypatch, 1, RuntimeError("no more"))
    monkeypatch.setattr(Undo, "restore", interrupted)
    monkeypatch.setattr(Tensor, "copy_", copy)
    with pytest.raises(KeyboardInterrupt):
        dsnot_exp.prune(model, calibration=IDS, progress=False)
    assert undoing == []
    assert same(model, before)


def test_modes_gradients_and_random_states_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = dsnot_exp.prune(build("llama"), calibration=IDS, progress=False).masks_sha256
    model = build("llama")
    model.train()
    model.model.layers[1].eval()
    model.requires_grad_(True)
    model.model.norm.requires_grad_(False)
    weight = model.get_parameter("model.layers.0.mlp.up_proj.weight")
    weight.grad = torch.ones_like(weight)
    model.config.use_cache = True
    random.seed(5)
    np.random.seed(5)
    torch.manual_seed(5)
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            sparse = dsnot_exp.prune(model, calibration=IDS, progress=False)
            assert torch.is_inference_mode_enabled()
        assert torch.get_default_dtype() == torch.bfloat16
    finally:
        torch.set_default_dtype(torch.float32)
    assert sparse.masks_sha256 == expected
    assert random.getstate() == states[0]
    assert np.random.get_state()[1].tolist() == states[1]
    assert torch.equal(torch.get_rng_state(), states[2])
    assert model.training
    assert not model.model.layers[1].mlp.training
    assert weight.requires_grad
    assert torch.equal(weight.grad, torch.ones_like(weight))
    assert not model.model.norm.weight.requires_grad
    assert model.config.use_cache
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_hooks_of_the_caller_see_the_model_run_and_stay() -> None:
    model = build("llama")
    seen: list[str] = []
    handle = model.model.layers[0].mlp.register_forward_hook(lambda *_: seen.append("mlp"))
    dsnot_exp.prune(model, calibration=IDS, progress=False)
    assert seen
    seen.clear()
    model(input_ids=IDS)
    assert seen == ["mlp"]
    handle.remove()
