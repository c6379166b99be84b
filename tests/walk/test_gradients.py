"""The squared gradients at the outputs of linears, block by block, against one backward pass of the
whole model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from dsnot_exp.config import ModelConfig
from dsnot_exp.models.blocks import find_blocks
from dsnot_exp.models.linears import all_linears, is_routed
from dsnot_exp.models.open import stream
from dsnot_exp.models.placement import Placed, place
from dsnot_exp.models.source import Source
from dsnot_exp.walk.gradients import squared_gradients
from tests.support.families import build, tokens
from tests.support.ranks import in_processes

CPU = torch.device("cpu")
IDS = tokens(3, 14, seed=5)
FAMILIES = ["llama-gqa", "gpt2", "opt", "gemma2", "falcon", "bamba", "mixtral", "gpt_oss"]


def placed(family: str) -> Placed:
    model = build(family)
    return place(model, find_blocks(model), CPU)


def whole(found: Placed, ids: Tensor) -> dict[str, Tensor]:
    """By layer that is a module: the mean over tokens of its outputs' squared gradients."""
    outputs: dict[str, list[Tensor]] = {}

    def keep(name: str) -> object:
        def hook(module: nn.Module, args: object, output: Tensor) -> None:
            output.retain_grad()
            outputs.setdefault(name, []).append(output)

        return hook

    layers = all_linears(found.blocks).items()
    modules = {name: layer.module for name, layer in layers if layer.expert is None}
    handles = [module.register_forward_hook(keep(name)) for name, module in modules.items()]
    embeddings = found.model.get_input_embeddings()
    embeddings.weight.requires_grad_(True)
    for row in ids[:, None]:
        logits = found.model(input_ids=row, use_cache=False).logits[0, :-1]
        cross_entropy(logits, row[0, 1:], reduction="sum").backward()
    for handle in handles:
        handle.remove()
    embeddings.weight.requires_grad_(False).grad = None
    grads = {n: torch.cat([o.grad.flatten(0, -2) for o in every]) for n, every in outputs.items()}
    return {name: grad.square().mean(0) for name, grad in grads.items()}


@pytest.mark.parametrize("family", FAMILIES)
def test_block_by_block_gives_the_gradients_of_the_whole_model(family: str) -> None:
    model = placed(family)
    wanted = whole(model, IDS)
    found = squared_gradients(model, IDS)
    assert not any(p.requires_grad or p.grad is not None for p in model.model.parameters())
    for name, squares in wanted.items():
        torch.testing.assert_close(found[name], squares, rtol=1e-3, atol=1e-10)
    experts = {name: layer for name, layer in all_linears(model.blocks).items() if is_routed(name)}
    assert set(found) <= set(wanted) | set(experts)
    for name in set(found) & set(experts):
        assert found[name].shape == experts[name].weight.shape[:1]
        assert bool((found[name] > 0).any())
    assert bool(experts) == bool(set(found) & set(experts))


def test_a_streamed_model_and_several_processes_give_the_same(tmp_path: Path) -> None:
    model = placed("llama-gqa")
    wanted = squared_gradients(model, IDS)
    model.model.save_pretrained(tmp_path)
    streamed = stream(Source(str(tmp_path)), ModelConfig("local", str(tmp_path)), CPU)
    own = [placed("llama-gqa") for _ in range(4)]  # more than sequences
    several = in_processes(4, lambda r: squared_gradients(own[r.rank], IDS, ranks=r))
    for found in (squared_gradients(streamed, IDS), *several):
        assert set(found) == set(wanted)
        for name, squares in wanted.items():
            torch.testing.assert_close(found[name], squares)


def test_the_weights_that_were_trainable_are_so_afterwards() -> None:
    model = placed("llama")
    trainable = model.blocks[1][0].mlp.up_proj.weight.requires_grad_(True)
    squared_gradients(model, IDS[:1])
    assert [p for p in model.model.parameters() if p.requires_grad] == [trainable]
    assert trainable.grad is None
