"""A llama with a tokenizer as one .gguf file, as llama.cpp's converter writes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import torch

from tests.support.families import VOCABULARY, build

NAMES = {
    "model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm", "model.layers": "blk",
}  # fmt: skip


def gguf_file(path: Path, quantised: bool = True, without: str = "", **changes: Any) -> Any:
    """Write a toy llama to `path` and return it. Its matrices are in 8 bits if `quantised`.

    without: the name of a tensor to leave out
    """
    model = build("llama", **{"intermediate_size": 64} | changes)  # Q8_0: multiples of 32
    writer = gguf.GGUFWriter(path, "llama")
    _describe(writer, model.config)
    _add_tokenizer(writer)
    for key, tensor in model.state_dict().items():
        name = key
        for ours, theirs in NAMES.items():
            name = name.replace(ours, theirs)
        if name == without:
            continue
        if ".attn_q." in name or ".attn_k." in name:
            tensor = _interleaved(tensor, model.config.num_attention_heads)
        kind = gguf.GGMLQuantizationType.Q8_0 if quantised and tensor.dim() > 1 else None
        values = tensor.numpy()
        if kind is not None:
            values = gguf.quants.quantize(values, kind)
        writer.add_tensor(name, values, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return model


def _interleaved(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """weight: (out, in), with the rows of each head in llama.cpp's order"""
    out, width = weight.shape
    halves = weight.reshape(heads, 2, out // heads // 2, width)
    return halves.transpose(1, 2).reshape(out, width).contiguous()


def _describe(writer: Any, config: Any) -> None:
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_attention_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
    writer.add_vocab_size(config.vocab_size)


def _add_tokenizer(writer: Any) -> None:
    """Byte-level BPE: printable characters, a blank, and one merge."""
    letters = [chr(code) for code in range(33, 33 + VOCABULARY - 5)]
    entries = ["<unk>", "<s>", "</s>", *letters, "\u0120", "th"]
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(entries)
    writer.add_token_types([gguf.TokenType.NORMAL] * len(entries))
    writer.add_token_merges(["t h"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
