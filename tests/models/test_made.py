"""A model of random weights that are there one block at a time."""

from __future__ import annotations

import torch

from dsnot_exp.models.blocks import find_blocks
from dsnot_exp.models.made import Made, random_tensor
from tests.support.families import hollow_of

CPU = torch.device("cpu")


def test_only_a_fetched_block_has_weights() -> None:
    model = hollow_of("llama", num_hidden_layers=2, tie_word_embeddings=False)
    made = Made.of(model, find_blocks(model), CPU, [])
    first, second = made.blocks[1]
    with made.fetch(first) as block:
        assert not any(p.is_meta for p in block.parameters())
        assert all(p.is_meta for p in second.parameters())
    assert all(p.is_meta for p in first.parameters())
    assert not model.get_input_embeddings().weight.is_meta
    assert not model.model.norm.weight.is_meta
    assert model.get_output_embeddings().weight.is_meta
    assert not made.whole


def test_random_weights_are_the_same_each_time_and_their_rows_differ() -> None:
    weight = random_tensor((40, 8192), torch.bfloat16, CPU)
    assert torch.equal(weight, random_tensor((40, 8192), torch.bfloat16, CPU))
    assert len({row.numpy().tobytes() for row in weight.float()}) == 40
    assert 0.01 < float(weight.float().std()) < 0.03
    assert torch.equal(random_tensor((3,), torch.float32, CPU), torch.ones(3))
