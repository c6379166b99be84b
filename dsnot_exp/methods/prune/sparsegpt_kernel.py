"""Passes some columns of a layer to native/sparsegpt.c. Only `sparsegpt.py` imports this file."""

from __future__ import annotations

import ctypes

from torch import Tensor

from dsnot_exp.methods import native
from dsnot_exp.methods.patterns import NM, Pattern


class _Leaf(ctypes.Structure):
    """As in sparsegpt.c."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("weight", "error", "factor", "scores", "mask")),
        *((name, ctypes.c_int64) for name in ("in", "out", "low", "high", "n", "m")),
    ]


def available(weight: Tensor) -> bool:
    return weight.device.type == "cpu" and native.available("sparsegpt")


def sweep_leaf(
    weight: Tensor, error: Tensor, factor: Tensor, scores: Tensor, mask: Tensor,
    low: int, high: int, pattern: Pattern,
) -> None:  # fmt: skip
    """Visit the columns from `low` to `high`, in place. N:M: choose their masks too.

    weight, error: (in, out); factor: (in, in); scores, mask: (out, in); all contiguous
    """
    n, m = (pattern.n, pattern.m) if isinstance(pattern, NM) else (0, 0)
    tensors = (weight, error, factor, scores, mask)
    assert all(tensor.is_contiguous() for tensor in tensors)
    width, rows = weight.shape
    leaf = _Leaf(*(tensor.data_ptr() for tensor in tensors), width, rows, low, high, n, m)
    run = native.entry(native.library("sparsegpt"), "sweep_leaf", _Leaf)
    run(leaf, 0, rows)  # too little work for several threads
