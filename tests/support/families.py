"""A toy of every model family, from its real configuration class, with random weights."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from dsnot_exp.models.checkpoint import hollow
from dsnot_exp.models.source import Source

VOCABULARY = 96
SMALL: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
GQA = SMALL | {"num_key_value_heads": 2}
HEAD = GQA | {"head_dim": 8}
SLIDING = HEAD | {
    "sliding_window": 6,
    "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
}
MAMBA2 = {
    "mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 8, "mamba_n_groups": 1,
    "mamba_chunk_size": 8, "mamba_expand": 2,
}  # fmt: skip
MOE = {"num_experts_per_tok": 2, "num_local_experts": 4, "num_experts": 4}

FAMILIES: dict[str, dict[str, Any]] = {
    "llama": SMALL,
    "llama-gqa": GQA,
    "llama-tied": GQA | {"tie_word_embeddings": True},
    "opt": SMALL | {"ffn_dim": 48, "word_embed_proj_dim": 32},
    "gpt2": {
        "vocab_size": VOCABULARY, "n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 64,
        "bos_token_id": 1, "eos_token_id": 2,
    },
    "gpt_neox": SMALL,
    "falcon": SMALL,
    "mpt": {
        "vocab_size": VOCABULARY, "d_model": 32, "n_heads": 4, "n_layers": 3, "max_seq_len": 64,
    },
    "bloom": {"vocab_size": VOCABULARY, "hidden_size": 32, "n_layer": 3, "n_head": 4},
    "mistral": GQA | {"sliding_window": 6},
    "qwen2": GQA,
    "qwen3": HEAD,
    "gemma2": SLIDING | {"query_pre_attn_scalar": 8},
    "gemma3_text": SLIDING | {"query_pre_attn_scalar": 8},
    "gemma3": {
        "text_config": SLIDING | {"query_pre_attn_scalar": 8},
        "vision_config": {
            "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1,
            "num_attention_heads": 4, "image_size": 28, "patch_size": 14,
        },
        "mm_tokens_per_image": 4,
    },
    "phi3": GQA,
    "olmo2": GQA,
    "gpt_oss": SLIDING | MOE,
    "cohere2": SLIDING,
    "bamba": GQA | MAMBA2 | {"attn_layer_indices": [1]},
    "lfm2": GQA | {"layer_types": ["conv", "full_attention", "conv"]},
    "recurrent_gemma": SMALL | {"lru_width": 32, "attention_window_size": 8},
    "rwkv": SMALL | {"attention_hidden_size": 32, "context_length": 64},
    "hunyuan_v1_moe": HEAD | MOE | {"moe_topk": 2},
    "mixtral": GQA | MOE,
    "qwen3_next": HEAD | MOE | {
        "moe_intermediate_size": 16, "shared_expert_intermediate_size": 16,
        "layer_types": ["linear_attention", "full_attention", "linear_attention"],
        "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 8,
        "linear_value_head_dim": 8,
    },
    "qwen3_moe": HEAD | MOE | {"moe_intermediate_size": 16, "decoder_sparse_step": 1},
    "olmoe": GQA | MOE,
    "llama4_text": HEAD | MOE | {"intermediate_size_mlp": 48, "interleave_moe_layer_step": 1},
}  # fmt: skip

EAGER_ONLY = {"bloom", "gemma2", "gpt_oss", "mpt", "rwkv"}  # transformers has no sdpa for these


def build(family: str, attention: str | None = None, seed: int = 0, **changes: Any) -> Any:
    """A float32 model in evaluation mode. Biases and norms are random too: a walker that forgot
    one would be noticed."""
    config = AutoConfig.for_model(family.split("-")[0], **(FAMILIES[family] | changes))
    attention = attention or ("eager" if family in EAGER_ONLY else "sdpa")
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(
        config, attn_implementation=attention, dtype=torch.float32
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.eval().requires_grad_(False)


def hollow_of(family: str, **changes: Any) -> Any:
    """A model of the family without weights, as one is read from disk."""
    config = AutoConfig.for_model(family.split("-")[0], **(FAMILIES[family] | changes))
    return hollow(Source("made"), config, [], "float32")


def tokens(sequences: int, length: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(3, VOCABULARY, (sequences, length), generator=generator)
