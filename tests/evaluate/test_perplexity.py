"""Perplexity against an independent computation, one prediction at a time."""

from __future__ import annotations

import math

import pytest
import torch

from dsnot_exp.evaluate.perplexity import perplexity
from dsnot_exp.utils.errors import RunError
from tests.support.families import build, tokens


def one_by_one(model: torch.nn.Module, blocks: torch.Tensor) -> float:
    """exp of the mean over blocks of the mean of -log p(next), in float64 from the logits."""
    means = []
    for block in blocks:
        logits = model(input_ids=block.unsqueeze(0)).logits[0].double()
        losses = [
            float(torch.logsumexp(logits[i], 0) - logits[i, block[i + 1]])
            for i in range(len(block) - 1)
        ]
        means.append(sum(losses) / len(losses))
    return math.exp(sum(means) / len(means))


@pytest.mark.parametrize("family", ["llama", "opt", "gpt2"])
def test_equals_an_independent_computation(family: str) -> None:
    model, blocks = build(family), tokens(5, 16)
    assert perplexity(model, blocks, 2) == pytest.approx(one_by_one(model, blocks), rel=1e-5)


def test_the_batch_size_plays_no_part() -> None:
    model, blocks = build("llama"), tokens(7, 16)
    values = [perplexity(model, blocks, size) for size in (1, 3, 7)]
    assert max(values) / min(values) - 1 < 1e-6


def test_a_uniform_model_has_the_perplexity_of_its_vocabulary() -> None:
    model = build("llama")
    model.lm_head.weight.zero_()
    assert perplexity(model, tokens(2, 8), 1) == pytest.approx(96, rel=1e-5)


def test_nan_names_the_first_module_that_made_it() -> None:
    model = build("llama")
    model.model.layers[1].mlp.up_proj.weight.fill_(torch.inf)
    with pytest.raises(RunError, match=r"model\.layers\.1\.mlp\.up_proj"):
        perplexity(model, tokens(2, 8), 1)
