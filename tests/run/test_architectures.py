"""Models of unusual architecture from the command line: what is pruned, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM

from dsnot_exp.models.linears import all_linears
from tests.support.command import Command
from tests.support.families import GQA, HEAD, SMALL, tokens

MAMBA = SMALL | {"state_size": 4, "time_step_rank": 4}
ZAMBA2 = GQA | {
    "num_hidden_layers": 4, "layers_block_type": ["mamba", "hybrid", "mamba", "hybrid"],
    "num_mem_blocks": 1, "n_mamba_heads": 4, "mamba_headdim": 16, "mamba_d_state": 8,
    "mamba_ngroups": 1, "chunk_size": 8, "attention_hidden_size": 64, "attention_head_dim": 16,
    "adapter_rank": 4, "num_key_value_heads": 4,
}  # fmt: skip
SHARED_KEYS = HEAD | {
    "num_hidden_layers": 4, "num_kv_shared_layers": 2,
    "layer_types": ["sliding_attention", "full_attention"] * 2,
}  # fmt: skip


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """A run on the model in `tmp_path / "toy"`, without its model options."""
    for name, seed in (("calib", 1), ("test", 2)):
        save_file({"input_ids": tokens(4, 12, seed)}, tmp_path / f"{name}.safetensors")
    return [
        "model=local", f"model.path={tmp_path}/toy", "calib.samples=4", "calib.seqlen=12",
        f"calib.dataset={tmp_path}/calib.safetensors", "eval.baselines=[]",
        f"eval.perplexity=[{tmp_path}/test.safetensors]", "wandb=disabled", "refine.max_cycles=5",
    ]  # fmt: skip


def save_toy(folder: Path, family: str, **config: Any) -> None:
    torch.manual_seed(0)
    made = AutoConfig.for_model(family, **config)
    AutoModelForCausalLM.from_config(made, dtype=torch.float32).save_pretrained(folder / "toy")


def remedy(message: str) -> str:
    found = re.search(r"set '(model\.dense=\[.*\])'$", message.strip())
    assert found, message
    return found[1]


def test_a_layer_that_is_never_called_is_refused_first_and_its_remedy_works(
    command: Command, tmp_path: Path, words: list[str]
) -> None:
    save_toy(tmp_path, "mamba", **MAMBA)
    weights = tmp_path / "toy" / "model.safetensors"
    weights.rename(tmp_path / "away")
    save_file({}, weights)  # they are not needed to find out
    done = command(*words)
    assert done.code == 2
    assert "backbone.layers.0.mixer.dt_proj: never called in the forward" in done.err
    (tmp_path / "away").rename(weights)
    done = command(*words, remedy(done.err))
    assert done.code == 0, done.err
    kept = done.result["model"]["kept_dense"]
    assert kept == {
        "*.mixer.A_log": "state of a recurrence",
        "*.mixer.conv1d.weight": "depthwise convolution",
    }
    assert "kept dense: *.mixer.A_log (state of a recurrence), *.mixer.conv1d" in done.out
    assert set(done.result["sparsity"]["layers"].values()) == {0.5}
    assert not any("dt_proj" in layer for layer in done.result["sparsity"]["layers"])


def test_blocks_that_share_weights_are_solved_and_counted_once(
    command: Command, tmp_path: Path, words: list[str]
) -> None:
    save_toy(tmp_path, "zamba2", **ZAMBA2)
    done = command(*words, "save=true")
    assert done.code == 2
    words = [*words, remedy(done.err)]
    done = command(*words, "save=true")
    assert done.code == 0, done.err
    layers = done.result["sparsity"]["layers"]
    assert "model.layers.1.shared_transformer.self_attn.q_proj" in layers
    assert not any("3.shared_transformer" in layer for layer in layers)
    saved = AutoModelForCausalLM.from_pretrained(done.folder / "model")
    matrices = all_linears(("model.layers", saved.model.layers))
    zeros = {layer: float((matrices[layer].weight == 0).float().mean()) for layer in layers}
    assert zeros == pytest.approx(layers)
    sizes = sum(matrices[layer].weight.numel() for layer in layers)
    assert done.result["model"]["prunable_parameters"] == sizes
    assert done.result["sparsity"]["achieved"] == pytest.approx(0.5)
    done = command(*words, "model.streaming=true", run="streamed")
    assert done.code == 2
    assert "blocks that share weights cannot be streamed" in done.err


@pytest.mark.parametrize(
    ("family", "config", "said"),
    [
        ("bert", SMALL, "bert is an encoder"),
        ("bart", {"vocab_size": 96, "d_model": 32, "decoder_layers": 1}, "an encoder-decoder"),
        ("gemma4_text", SHARED_KEYS, "pass on more than their hidden"),
    ],
)
def test_a_model_that_cannot_be_walked_is_refused_from_its_configuration(
    command: Command, tmp_path: Path, words: list[str], family: str, config: dict, said: str
) -> None:
    AutoConfig.for_model(family, **config).save_pretrained(tmp_path / "toy")
    save_file({}, tmp_path / "toy" / "model.safetensors")
    done = command(*words)
    assert done.code == 2
    assert said in done.err
    assert len(done.err.strip().splitlines()) == 1


def test_what_a_wrapper_leaves_out_is_said(
    command: Command, tmp_path: Path, words: list[str]
) -> None:
    vision = {"hidden_size": 32, "intermediate_size": 48, "num_heads": 4, "depth": 1}
    kinds = {"layer_types": ["linear_attention", "full_attention", "linear_attention"]}
    linear = {
        "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 8,
        "linear_value_head_dim": 8,
    }  # fmt: skip
    config = AutoConfig.for_model(
        "qwen3_5", text_config=HEAD | kinds | linear, vision_config=vision
    )
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(tmp_path / "toy")
    config.save_pretrained(tmp_path / "toy")
    done = command(*words)
    assert done.code == 0, done.err
    assert done.result["model"]["left_out"] == ["vision"]
    assert any(w.endswith("other parts: vision") for w in done.result["warnings"])
