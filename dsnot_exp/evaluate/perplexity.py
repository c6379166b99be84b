"""Perplexity by the papers' protocol (released code, lib/eval.py)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from dsnot_exp.errors import RunError


@torch.no_grad()
def perplexity(
    model: Any, blocks: Tensor, batch_size: int, on_batch: Callable[[int], None] = lambda n: None
) -> float:
    """exp of the mean over blocks of the block's mean loss over its S - 1 predictions.

    `blocks: (blocks, S)` token ids. Losses are taken in float32 whatever the model's dtype.
    """
    total = 0.0
    for batch in blocks.split(batch_size):
        ids = batch.to(model.device)
        logits = model(input_ids=ids, use_cache=False).logits[:, :-1].float()
        loss = cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none")
        total += float(loss.mean(1).double().sum())
        if not math.isfinite(total):
            raise RunError(f"{first_nonfinite(model, ids)}: its output holds NaN or infinity")
        on_batch(len(batch))
    return math.exp(total / len(blocks))


def first_nonfinite(model: nn.Module, ids: Tensor) -> str:
    """The name of the first module of the forward whose output is not finite."""
    found: list[str] = []

    def look(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: object, output: object) -> None:
            tensor = output[0] if isinstance(output, tuple) else output
            if isinstance(tensor, Tensor) and not bool(torch.isfinite(tensor).all()):
                found.append(name)

        return hook

    handles = [
        module.register_forward_hook(look(name)) for name, module in model.named_modules() if name
    ]
    try:
        model(input_ids=ids, use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return found[0] if found else type(model).__name__
