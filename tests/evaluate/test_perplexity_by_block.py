"""Block by block gives the whole model's perplexity, and touches every block once per batch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import nn

from dsnot_exp.evaluate.perplexity import perplexity
from dsnot_exp.evaluate.perplexity_by_block import perplexity_by_block
from dsnot_exp.models.blocks import find_blocks
from dsnot_exp.utils.errors import RunError
from dsnot_exp.walk.sequences import Fetch, Sequences, resident
from tests.support.families import FAMILIES, build, tokens


def by_block(
    model: nn.Module,
    blocks: tuple[str, nn.ModuleList],
    ids: torch.Tensor,
    batch_size: int,
    fetch: Fetch = resident,
    on_batch: Callable[[int], None] = lambda n: None,
) -> float:
    sequences = Sequences(model, blocks, list(ids.split(batch_size)), fetch=fetch)
    return perplexity_by_block(sequences, on_batch)


@pytest.mark.parametrize("family", FAMILIES)
def test_equals_the_whole_model(family: str) -> None:
    model, sequences = build(family), tokens(5, 20)
    found = by_block(model, find_blocks(model), sequences, 2)
    assert found == perplexity(model, sequences, 2)


@pytest.mark.parametrize("layers", [1, 2])
def test_few_blocks(layers: int) -> None:
    model, sequences = build("llama", num_hidden_layers=layers), tokens(3, 12)
    found = by_block(model, find_blocks(model), sequences, 2)
    assert found == perplexity(model, sequences, 2)


def test_every_block_is_brought_in_order_and_runs_once_per_batch() -> None:
    model, runs, brought, progress = build("llama"), Counter(), [], []
    name, members = find_blocks(model)
    for index, block in enumerate(members):
        block.mlp.register_forward_hook(lambda *_, index=index: runs.update([index]))

    @contextmanager
    def fetch(block: nn.Module) -> Iterator[nn.Module]:
        brought.append(list(members).index(block))
        yield block

    by_block(model, (name, members), tokens(5, 12), 2, fetch, progress.append)
    assert brought == [0, 0, 1, 2]  # the first once more, to learn what its class returns
    assert runs == {0: 4, 1: 3, 2: 3}  # the first once more: what it returns has to be seen
    assert progress == 3 * [2, 2, 1]


def test_afterwards_the_model_is_as_before() -> None:
    model, sequences = build("opt"), tokens(3, 12)
    before = perplexity(model, sequences, 3)
    by_block(model, find_blocks(model), sequences, 2)
    assert perplexity(model, sequences, 3) == before
    assert not any("forward" in vars(block) for block in find_blocks(model)[1])


def test_nan_names_the_block() -> None:
    model = build("llama")
    model.model.layers[1].mlp.up_proj.weight.fill_(torch.inf)
    with pytest.raises(RunError, match=r"model\.layers\.1"):
        by_block(model, find_blocks(model), tokens(2, 8), 1)
