"""Passes bfloat16 tokens to native/moments.c. Only `moments.py` imports this file."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from dsnot_exp.methods import native

LANES = 64  # columns at a time


class _Moments(ctypes.Structure):
    """As in moments.c."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("tokens", "mean", "scatter")),
        *((name, ctypes.c_int64) for name in ("count", "width", "stride")),
    ]


def available(inputs: Tensor) -> bool:
    half = inputs.dtype == torch.bfloat16 and inputs.device.type == "cpu"
    return half and native.available("moments")


def moments(inputs: Tensor) -> tuple[Tensor, Tensor]:
    """As moments.moments, for bfloat16 `inputs: (tokens, in)` in memory."""
    inputs = inputs if inputs.stride(1) == 1 else inputs.contiguous()
    count, width = inputs.shape
    mean, scatter = torch.zeros(2, width, dtype=torch.float64)
    pointers = (tensor.data_ptr() for tensor in (inputs, mean, scatter))
    task = _Moments(*pointers, count, width, inputs.stride(0))
    run = native.entry(native.library("moments"), "moments", _Moments)
    run(task, 0, -(-width // LANES))  # too little work for several threads
    return mean, scatter
