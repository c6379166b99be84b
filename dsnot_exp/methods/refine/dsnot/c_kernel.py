"""Passes a layer to native/dsnot_rows.c. Only `backend.py` imports this file."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from dsnot_exp.methods import native

DTYPES = (torch.float32, torch.bfloat16)


class _Layer(ctypes.Structure):
    """As in dsnot_rows.c."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in (
            "weight", "present", "scores", "mask", "unit", "divisor", "norm", "new_mask", "error",
            "swaps",
        )),
        *((name, ctypes.c_int64) for name in ("width", "cycles", "m")),
        ("threshold", ctypes.c_double),
        *((name, ctypes.c_int32) for name in ("half", "flip_stops", "run_on")),
    ]  # fmt: skip


def refine_rows(
    weight: Tensor, present: Tensor, scores: Tensor, mask: Tensor, unit: Tensor, divisor: Tensor,
    norm: Tensor, error: Tensor, cycles: int, threshold: float, m: int, flip_stops: bool,
    run_on: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """As triton_kernel.refine_rows, for weights in memory."""
    weight, present, mask = weight.contiguous(), present.contiguous(), mask.contiguous()
    scores = scores.float().contiguous() if m else unit  # which is not read
    vectors = [vector.float().contiguous() for vector in (unit, divisor, norm)]
    new_mask, after = mask.clone(), error.clone()
    swaps = torch.zeros_like(error, dtype=torch.int64)
    tensors = (weight, present, scores, mask, *vectors, new_mask, after, swaps)
    layer = _Layer(
        *(tensor.data_ptr() for tensor in tensors), weight.shape[1], cycles, m, threshold,
        weight.dtype == torch.bfloat16, flip_stops, run_on,
    )  # fmt: skip
    run = native.entry(native.library("dsnot_rows"), "refine_rows", _Layer)
    native.over_rows(len(weight), lambda first, last: run(layer, first, last))
    return new_mask, after, swaps
