"""The committed weights are small and as good as the README says: the thresholds lie a little below
its figures, and far above chance (1/4 to 1/2)."""

import json

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

from dsnot_exp.tinyworld import MODEL
from dsnot_exp.tinyworld.network import Recipe, config
from dsnot_exp.tinyworld.score import accuracy, perplexity


@pytest.fixture(scope="module")
def model() -> LlamaForCausalLM:
    return AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32).eval()


def test_the_folder_is_small_and_in_bfloat16() -> None:
    assert (MODEL / "model.safetensors").stat().st_size < 11.5e6
    assert json.loads((MODEL / "config.json").read_text())["dtype"] == "bfloat16"


def test_the_architecture_is_the_recipe_s(model: LlamaForCausalLM) -> None:
    expected = config(Recipe())
    for name in ("hidden_size", "intermediate_size", "num_hidden_layers", "vocab_size"):
        assert getattr(model.config, name) == getattr(expected, name)
    assert 3e6 < model.num_parameters() < 6e6


def test_perplexity(model: LlamaForCausalLM) -> None:
    assert perplexity(model, "test", blocks=16) < 3.2


@pytest.mark.parametrize(
    ("task", "least"),
    [
        ("tw_where", 0.9),
        ("tw_holder", 0.9),
        ("tw_refer", 0.9),
        ("tw_count", 0.85),
        ("tw_follows", 0.75),
    ],
)
def test_accuracy(model: LlamaForCausalLM, task: str, least: float) -> None:
    assert accuracy(model, task, count=100) >= least


def test_it_goes_on_with_readable_text(model: LlamaForCausalLM) -> None:
    words = AutoTokenizer.from_pretrained(MODEL)
    ids = words("anna was in the garden . where was anna ?", return_tensors="pt")
    told = model.generate(**ids, max_new_tokens=12, do_sample=False)
    text = words.decode(told[0], skip_special_tokens=True)
    assert text.startswith("anna was in the garden . where was anna ? ")
    assert "in the garden ." in text[len("anna was in the garden . where was anna ?") :]
