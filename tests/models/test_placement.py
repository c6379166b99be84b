"""Models that are larger than the device: what stays, what is brought, and that it comes back."""

from __future__ import annotations

import pytest
import torch

from dsnot_exp.evaluate.perplexity import perplexity
from dsnot_exp.models.blocks import find_blocks
from dsnot_exp.models.placement import (
    RESERVE,
    Placed,
    dispatched,
    move_all_but,
    place,
    weight_bytes,
)
from dsnot_exp.utils import accelerator
from tests.support.families import build, tokens

CPU, META = torch.device("cpu"), torch.device("meta")


def test_all_but_the_blocks_is_moved() -> None:
    model = build("llama")
    name, blocks = find_blocks(model)
    order = list(blocks)
    move_all_but(blocks, model, META)
    assert list(blocks) == order
    devices = {n: p.device.type for n, p in model.named_parameters()}
    assert {d for n, d in devices.items() if n.startswith(name)} == {"cpu"}
    assert {d for n, d in devices.items() if not n.startswith(name)} == {"meta"}


@pytest.mark.parametrize(("training", "whole"), [(0, True), (99, True), (100, False)])
def test_a_block_that_is_trained_needs_room_beside_the_weights(
    training: int, whole: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build("llama")
    free = weight_bytes(model) + RESERVE + 100
    monkeypatch.setattr(accelerator, "is_accelerator", lambda device: device == META)
    monkeypatch.setattr(accelerator, "free_memory", lambda device: free)
    assert place(model, find_blocks(model), META, training=training).whole is whole


def test_a_block_is_brought_and_put_back() -> None:
    model = build("llama")
    blocks = find_blocks(model)
    seen = []
    block = blocks[1][0]
    block.to = lambda device: (seen.append(str(device)), block)[1]
    with Placed(model, blocks, META, whole=False).fetch(block) as brought:
        assert (brought, seen) == (block, ["meta"])
    assert seen == ["meta", "cpu"]
    with place(model, blocks, CPU).fetch(block):
        assert seen == ["meta", "cpu"]


def test_spread_over_memory_and_disk_and_back() -> None:
    model, sequences = build("llama"), tokens(3, 12)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    expected = perplexity(model, sequences, 2)
    places = {name: "cpu" for name, _ in model.model.named_children() if name != "layers"}
    device_map = {f"model.{name}": place for name, place in places.items()}
    device_map |= {"lm_head": "cpu", "model.layers.0": "cpu"}
    device_map |= {"model.layers.1": "disk", "model.layers.2": "disk"}
    with dispatched(model, device_map):
        assert model.model.layers[2].mlp.up_proj.weight.is_meta
        assert perplexity(model, sequences, 2) == expected
    after = model.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert perplexity(model, sequences, 2) == expected
    assert "to" not in vars(model)
    assert not hasattr(model, "hf_device_map")


def test_a_model_that_is_all_there_is_called_as_it_is() -> None:
    model = build("llama")
    placed = place(model, find_blocks(model), CPU)
    assert placed.whole
    with placed.callable() as called:
        assert called is model
    assert weight_bytes(model) == 4 * model.num_parameters()
