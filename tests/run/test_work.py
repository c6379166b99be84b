"""The counted forwards are those of a walk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import nn

from dsnot_exp.methods.patterns import parse
from dsnot_exp.methods.prune.magnitude import Magnitude
from dsnot_exp.methods.prune.sparsegpt import SparseGPT
from dsnot_exp.methods.prune.wanda import Wanda
from dsnot_exp.methods.refine.dsnot.method import DSnoT
from dsnot_exp.methods.statistics import Target
from dsnot_exp.models.blocks import find_blocks
from dsnot_exp.models.placement import Placed
from dsnot_exp.run.work import WalkTokens, walk_tokens
from dsnot_exp.walk.recipe import Recipe
from dsnot_exp.walk.sparsify import sparsify
from tests.support.families import build

SAMPLES, HELD_OUT, SEQLEN, BLOCKS = 3, 2, 8, 4
HALF = parse("unstructured", 0.5)
AUTO = DSnoT(max_cycles="auto")
RECIPES = {
    "magnitude": Recipe(HALF, Magnitude()),
    "magnitude+dsnot": Recipe(HALF, Magnitude(), DSnoT(max_cycles=3)),
    "wanda": Recipe(HALF, Wanda()),
    "wanda+dsnot, budget chosen": Recipe(HALF, Wanda(), AUTO),
    "sparsegpt, dense stream": Recipe(HALF, SparseGPT(), target=Target(0.5, 0.0)),
}


@contextmanager
def counted(blocks: nn.ModuleList) -> Iterator[list[int]]:
    """The tokens of every forward through a block, also of one that stops inside: its first linear
    sees them. To capture arguments, the blocks' own forwards are replaced."""
    tokens: list[int] = []

    def count(module: nn.Module, args: Any) -> None:
        tokens.append(args[0].shape[:2].numel())

    firsts = [next(m for m in block.modules() if isinstance(m, nn.Linear)) for block in blocks]
    handles = [first.register_forward_pre_hook(count) for first in firsts]
    yield tokens
    for handle in handles:
        handle.remove()


@pytest.mark.parametrize("name", RECIPES)
def test_the_forwards_of_a_walk_are_counted(name: str) -> None:
    recipe = RECIPES[name]
    torch.manual_seed(0)
    model = build("llama", num_hidden_layers=BLOCKS)
    placed = Placed(model, find_blocks(model), torch.device("cpu"))
    ids = torch.randint(64, (SAMPLES + HELD_OUT, SEQLEN))
    held_out = ids[SAMPLES:] if recipe.holds_out else None
    with counted(placed.blocks[1]) as tokens:
        sparse = sparsify(placed, ids[:SAMPLES], recipe, held_out=held_out, batch_size=2)
    found = walk_tokens(recipe, SAMPLES, HELD_OUT, SEQLEN, BLOCKS)
    learnt = 2 if tokens else 0  # the walk first learns from two tokens what a block returns
    # A budget that leaves the masks of the one before it is not tried.
    same = sum(a == b for c in sparse.choices for a, b in pairwise(c.errors.values()))
    skipped = same * HELD_OUT * SEQLEN
    assert sum(tokens) == found.collected + total(found) - skipped + learnt


def total(found: WalkTokens) -> int:
    return found.followed + found.propagated + found.tried


def test_the_floor_is_two_forwards_of_every_token_but_for_the_last_block() -> None:
    found = walk_tokens(RECIPES["wanda"], 128, 0, 2048, 32)
    tokens = 128 * 2048
    assert found == WalkTokens(collected=32 * tokens, propagated=31 * tokens)


def test_the_dense_forward_of_collected_tokens_is_timed_with_them() -> None:
    found = walk_tokens(RECIPES["sparsegpt, dense stream"], 4, 0, 8, 2)
    assert (found.followed, found.alone) == (2 * 32, found.propagated)
