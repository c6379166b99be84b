"""The models that benchmarks run on: a random Llama of any shape, or an entry of conf/model."""

from __future__ import annotations

from typing import Any

import torch
from omegaconf import OmegaConf
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from dsnot_exp.config import ModelConfig
from dsnot_exp.data.load import calibration_tokens
from dsnot_exp.models.loading import load_model, load_tokenizer
from dsnot_exp.models.source import locate
from dsnot_exp.run.device import device_of
from dsnot_exp.utils.paths import beside_or_inside

VOCABULARY = 1024


def random_llama(options: Any) -> tuple[LlamaForCausalLM, Tensor]:
    """A model of the asked shape, and calibration tokens (sequences, tokens)."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=options.hidden,
        intermediate_size=options.intermediate,
        num_hidden_layers=options.layers,
        num_attention_heads=options.heads,
        max_position_embeddings=options.tokens,
    )
    device = device_of(options.device)
    model = LlamaForCausalLM(config).to(device, getattr(torch, options.dtype))
    ids = torch.randint(VOCABULARY, (options.sequences, options.tokens), device=device)
    return model.eval().requires_grad_(False), ids


def real_model(options: Any, text: str = "tinyworld") -> tuple[Any, Tensor]:
    """A model of conf/model, and sequences of a text in its tokens (sequences, tokens)."""
    config = OmegaConf.load(beside_or_inside("conf") / "model" / f"{options.model}.yaml")
    given = config.get("model", config)
    source = locate(ModelConfig(**given))
    model, _ = load_model(source, given.get("dtype", "auto"), True)
    device = device_of(options.device)
    count = options.sequences
    tokens = calibration_tokens(text, count, options.tokens, 0, load_tokenizer(source))
    return model.to(device), tokens.ids.to(device)
