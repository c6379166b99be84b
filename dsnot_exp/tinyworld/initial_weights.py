"""Initial weights for training the bundled model.

From the usual random initialisation, a small model takes long to learn who is where and who has
what. It must first learn that a place belongs to the name some words before it, and that the latest
place is the valid one. Here training starts with heads that look back and heads that find the same
name again. It still has to learn how to use them.
"""

import torch
from torch import Tensor
from transformers import LlamaForCausalLM

PAIRS = 6  # the fastest rotary frequencies: they distinguish a word from its neighbours
SLOWER = slice(PAIRS, PAIRS + 2)  # slower ones: they distinguish recent from old words
BACK = 7  # words


@torch.no_grad()
def prepare(model: LlamaForCausalLM, naming: Tensor) -> None:
    """Set the initial weights. `naming`: the tokens of names, places and things.

    Embeddings have entries of about 1 and a common part that represents "any word". They are zero
    in two registers, which are subspaces of a head's size. Except for the heads of `look_back` and
    `find_again`, all heads find words equal to the current one (mimetic initialisation, arXiv
    2305.09828); after the first block they prefer the latest. The model predicts the found word:
    W_o W_v is near the identity, and the output matrix is a multiple of the embeddings.
    """
    hidden, heads = model.config.hidden_size, model.config.num_attention_heads
    size = hidden // heads
    basis = torch.nn.init.orthogonal_(torch.empty(hidden, hidden))
    registers, read = basis[: 2 * size].view(2, size, hidden), basis[2 * size : 3 * size]
    embedding = model.model.embed_tokens.weight.normal_()
    others = torch.ones(len(embedding), 1).index_fill(0, naming, 0)
    embedding.sub_((others * embedding) @ read.T @ read)
    common = torch.randn(hidden)
    embedding.add_(common - common @ read.T @ read)
    for register in registers:
        embedding.sub_(embedding @ register.T @ register)
    model.lm_head.weight.copy_(embedding * 0.03)
    common -= common @ basis[: 3 * size].T @ basis[: 3 * size]
    anything = common / common.norm()
    for depth, layer in enumerate(model.model.layers):
        attention = layer.self_attn
        torch.nn.init.orthogonal_(attention.v_proj.weight, gain=0.5)
        attention.o_proj.weight.copy_(attention.v_proj.weight.T)
        attention.k_proj.weight.copy_(attention.q_proj.weight.normal_(std=0.04))
        query, key, value = (
            matrix.weight.view(heads, size, hidden)
            for matrix in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        if depth == 0:
            frequencies = model.model.rotary_emb.inv_freq[:PAIRS]
            look_back(query, key, anything, frequencies)
            value[:BACK] = read
            output = attention.o_proj.weight.view(hidden, heads, size)
            output[:, :3], output[:, 3:BACK] = registers[0].T[:, None], registers[1].T[:, None]
            continue
        if depth == 1:
            find_again(query, key, registers)
        for matrix in (query, key):
            matrix[:, SLOWER] = 0.3 * anything
            matrix[:, size // 2 :][:, SLOWER] = 0


def look_back(query: Tensor, key: Tensor, anything: Tensor, frequencies: Tensor) -> None:
    """Head i looks i + 1 words back, at any word, and writes names, places and things to a
    register: to the first for up to 3 words back, otherwise to the second.

    query, key: (heads, size, hidden). A rotary pair is a row and the row size / 2 below it.
    """
    half = query.shape[1] // 2
    for head in range(min(BACK, len(query))):
        angle = frequencies[:, None] * (head + 1)
        query[head], key[head] = 0, 0
        query[head, :PAIRS] = 0.42 * angle.cos() * anything
        query[head, half : half + PAIRS] = -0.42 * angle.sin() * anything
        key[head, :PAIRS] = 0.42 * anything


def find_again(query: Tensor, key: Tensor, registers: Tensor, sharp: float = 2.8) -> None:
    """For each pair of registers, two heads find the words whose one register equals the current
    word's other register: the words about the same name. They only use slow rotary frequencies, so
    distance does not matter.
    """
    half = query.shape[1] // 2
    slow = half // 2
    for head in range(min(8, len(query))):
        part = slice(head % 2 * half, head % 2 * half + half)
        for matrix, register in ((query, registers[head // 2 % 2]), (key, registers[head // 4])):
            matrix[head] *= 0.2
            matrix[head, slow:half] = sharp * register[part][:slow]
            matrix[head, half + slow :] = sharp * register[part][slow:]
