"""The models that benchmarks run on: a random Llama of any shape, or an entry of conf/model."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from omegaconf import OmegaConf
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from dsnot_exp.config import ModelConfig
from dsnot_exp.data.load import calibration_tokens
from dsnot_exp.models.blocks import find_blocks
from dsnot_exp.models.checkpoint import hollow
from dsnot_exp.models.loading import load_model, load_tokenizer
from dsnot_exp.models.placement import Placed
from dsnot_exp.models.source import Source, locate
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


def hollow_llama(config: LlamaConfig, dtype: str, device: torch.device) -> Any:
    """A Llama whose weights are yet to be made; its buffers are on the device."""
    model = hollow(Source("random"), config, [], dtype)
    for module in model.modules():
        for name, buffer in module.named_buffers(recurse=False):
            module._buffers[name] = buffer.to(device)
    return model


def fill(modules: Iterable[nn.Module], device: torch.device, seed: int) -> None:
    """Weights made on the device, the same for the same seed there: norms of 1, and matrices as
    large as a trained model's."""
    generator = torch.Generator(device).manual_seed(seed)
    for module in modules:
        for name, absent in module.named_parameters(recurse=False):
            made = torch.ones_like(absent, device=device)
            if made.dim() > 1:
                made.normal_(0, 0.02, generator=generator)
            module._parameters[name] = nn.Parameter(made, requires_grad=False)


def fill_around(model: nn.Module, blocks: nn.ModuleList, device: torch.device) -> None:
    inside = set(blocks.modules())
    fill((module for module in model.modules() if module not in inside), device, len(blocks))


def whole_llama(config: LlamaConfig, dtype: str, device: torch.device) -> Placed:
    """A random Llama that is made on the device, whole."""
    model = hollow_llama(config, dtype, device)
    found = find_blocks(model)
    fill_around(model, found[1], device)
    for index, block in enumerate(found[1]):
        fill(block.modules(), device, index)
    return Placed(model, found, device)


def random_ids(vocabulary: int, sequences: int, tokens: int, device: torch.device) -> Tensor:
    """(sequences, tokens), the same every time."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(vocabulary, (sequences, tokens), generator=generator).to(device)


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
