"""The bundled model's recipe, its configuration and the weights that its training begins with."""

from dataclasses import dataclass

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from dsnot_exp.tinyworld import tokenizer


@dataclass(frozen=True)
class Recipe:
    """Sizes and schedule; a step sees `batch` x `length` tokens, or 3/4 of it in short rows.

    packed: how many steps at the end see packed text; emphasis: how much more than 1 a token of
    an answer weighs before; the rates are peaks, for matrices, input embeddings and the rest.
    """

    hidden: int = 320
    layers: int = 4
    intermediate: int = 640
    heads: int = 10
    steps: int = 4000
    packed: int = 600
    emphasis: float = 4.0
    batch: int = 16
    length: int = 256
    warmup: int = 80
    muon_rate: float = 0.02
    input_rate: float = 0.015
    adam_rate: float = 0.003
    decay: float = 0.05
    seed: int = 1


def config(recipe: Recipe) -> LlamaConfig:
    vocabulary = len(tokenizer.vocabulary())
    return LlamaConfig(
        vocab_size=vocabulary + -vocabulary % 16,
        hidden_size=recipe.hidden,
        intermediate_size=recipe.intermediate,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.heads,
        max_position_embeddings=512,
        tie_word_embeddings=False,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )


@torch.no_grad()
def prepare(model: LlamaForCausalLM, shifts: int = 7, pairs: int = 6) -> None:
    """Initial weights from which a small model learns to bind names to places much sooner.

    Embeddings have entries of about 1 (else the first block's output drowns the word) and a
    common part; the output matrix begins as a multiple of them, so that a copied word is said.
    In the first block, head i looks i + 1 words back for i < `shifts`: its queries and keys see
    only the common part, and the rotary angles of the `pairs` fastest frequencies do the rest.
    All other heads begin with queries equal to keys and W_o W_v near the identity,
    so they find and copy equal content (mimetic initialisation, arXiv 2305.09828).
    """
    size = model.config.hidden_size // model.config.num_attention_heads
    embedding = model.model.embed_tokens.weight.normal_()
    model.lm_head.weight.copy_(embedding * 0.03)
    common = torch.randn(model.config.hidden_size)
    embedding.add_(common)
    for layer in model.model.layers:
        attention = layer.self_attn
        torch.nn.init.orthogonal_(attention.v_proj.weight, gain=0.5)
        attention.o_proj.weight.copy_(attention.v_proj.weight.T)
        attention.q_proj.weight.normal_(std=0.04)
        attention.k_proj.weight.copy_(attention.q_proj.weight)
    first = model.model.layers[0].self_attn
    angles = model.model.rotary_emb.inv_freq[:pairs]
    towards = 0.42 * common / common.norm()
    for head in range(min(shifts, model.config.num_attention_heads - 1)):
        query = first.q_proj.weight[head * size : (head + 1) * size].zero_()
        key = first.k_proj.weight[head * size : (head + 1) * size].zero_()
        back = angles[:, None] * (head + 1)
        query[:pairs] = back.cos() * towards
        query[size // 2 : size // 2 + pairs] = -back.sin() * towards
        key[:pairs] = towards
