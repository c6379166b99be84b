"""Warns of half precision on a processor that has no products of it: torch emulates them."""

from __future__ import annotations

import torch

HALF = {torch.bfloat16: "_is_mkldnn_bf16_supported", torch.float16: "_is_mkldnn_fp16_supported"}


def slow_dtype(dtype: torch.dtype, device: torch.device) -> str | None:
    """What to say about weights of `dtype` on `device`; None if their products are fast.

    On a processor with AVX2 alone, a linear layer of SmolLM2 takes six times as long in bfloat16
    as in float32.
    """
    if device.type != "cpu" or dtype not in HALF or multiplies(dtype):
        return None
    name = str(dtype).removeprefix("torch.")
    return f"{name} is several times slower than float32 on this processor; set model.dtype=float32"


def multiplies(dtype: torch.dtype) -> bool:
    """Whether the processor multiplies numbers of this half-precision `dtype`. True where oneDNN,
    which knows, is not part of torch."""
    supported = getattr(torch.ops.mkldnn, HALF[dtype], None)
    return supported is None or not torch.backends.mkldnn.is_available() or bool(supported())
