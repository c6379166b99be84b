"""One forward without weights tells how a model calls its blocks and their layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM

from dsnot_exp.models.blocks import find_blocks
from dsnot_exp.models.linears import Linear, owned
from dsnot_exp.models.probe import Probe, probe
from tests.support.families import FAMILIES

Forward = Callable[["Block", Tensor, Any], Any]


class Grouped(nn.Linear):
    """Each half of the rows sees one half of the input: (..., 2, in) to (..., 2, out / 2)."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("...gi,goi->...go", x, self.weight.unflatten(0, (2, -1)))


class Block(nn.Module):
    def __init__(self, run: Forward) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)
        self.run = run

    def forward(self, x: Tensor, extra: Any = None) -> Any:
        return self.run(self, x, extra)


class Model(nn.Module):
    """`go` is its forward from the embeddings on."""

    def __init__(self, run: Forward, go: Callable[[Any, Tensor], Any]) -> None:
        super().__init__()
        self.embedding = nn.Embedding(9, 4)
        self.blocks = nn.ModuleList(Block(run) for _ in range(3))
        self.go = go

    def forward(self, input_ids: Tensor, use_cache: bool) -> None:
        self.go(self.blocks, self.embedding(input_ids))


def in_turn(blocks: Any, x: Tensor) -> None:
    for block in blocks:
        x = block(x)


def seen(run: Forward, go: Callable[[Any, Tensor], Any] = in_turn, **options: Any) -> Probe:
    with torch.device("meta"):
        model = Model(run, go)
    found = probe(model, model.blocks, watched(model), options.get("positions"))
    assert found is not None
    return found


def watched(model: Model) -> dict[tuple[str, str], Linear]:
    own = owned(model.blocks)
    return {(f"blocks.{i}", n): x for i, found in enumerate(own) for n, x in found.items()}


def both(block: Block, x: Tensor, extra: Any) -> Tensor:
    return block.b(block.a(x))


def test_a_plain_model() -> None:
    found = seen(both)
    assert found.calls == [0, 1, 2]
    assert found.walks
    assert found.alone
    assert {layer for _, layer in found.called} == {"a", "b"}
    assert not found.unusual
    assert seen(both, positions=7).hidden == (2, 7, 4)


def test_a_layer_whose_weight_is_read_is_not_called() -> None:
    found = seen(lambda block, x, extra: block.a(x) @ block.b.weight)
    assert {layer for _, layer in found.called} == {"a"}


def test_a_layer_that_is_no_product_with_the_whole_input_is_unusual() -> None:
    with torch.device("meta"):
        model = Model(lambda block, x, extra: block.a(x.unflatten(-1, (2, 2))).flatten(-2), in_turn)
        for block in model.blocks:
            block.a = Grouped(2, 4)
    found = probe(model, model.blocks, watched(model), None)
    assert found is not None
    assert {layer for _, layer in found.unusual} == {"a"}


def test_blocks_out_of_order_are_seen() -> None:
    assert seen(both, lambda blocks, x: in_turn([blocks[1], blocks[0]], x)).calls == [1, 0]


@pytest.mark.parametrize(
    "go",
    [
        lambda blocks, x: in_turn([blocks[0], lambda y: y * 2, *blocks[1:]], x),
        lambda blocks, x: in_turn([blocks[0], lambda y: y.mul_(2), *blocks[1:]], x),
        lambda blocks, x: blocks[1](x, blocks[0](x)),
        lambda blocks, x: blocks[1](blocks[0](x), {"kept": blocks[0](x) + 1}),
    ],
    ids=["scaled", "scaled in place", "handed on", "derived"],
)
def test_what_goes_from_block_to_block_beside_the_hidden_states_is_seen(go: Any) -> None:
    def run(block: Block, x: Tensor, extra: Any) -> Tensor:
        extra = extra["kept"] if isinstance(extra, dict) else extra
        return block.b(block.a(x)) + (0 if extra is None else extra)

    assert not seen(run, go).alone


def test_what_is_handed_on_and_not_used_does_no_harm() -> None:
    """GLM's blocks pass on the indices that only some of them take over."""

    def go(blocks: Any, x: Tensor) -> None:
        extra = None
        for block in blocks:
            x, extra = block(x, extra)

    assert seen(lambda block, x, extra: (block.b(block.a(x)), x + 1), go).alone


def test_a_model_that_needs_values_is_not_probed() -> None:
    with torch.device("meta"):
        model = Model(lambda block, x, extra: x[x.nonzero()], in_turn)
    assert probe(model, model.blocks, {}, None) is None


@pytest.mark.parametrize("family", [f for f in FAMILIES if f != "gemma3"])
def test_every_family_can_be_probed(family: str) -> None:
    config = AutoConfig.for_model(family.split("-")[0], **FAMILIES[family])
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    found = probe(model, find_blocks(model)[1], {}, 64)
    assert found is not None
    assert found.calls == [0, 1, 2]
    assert found.walks
    assert found.alone
