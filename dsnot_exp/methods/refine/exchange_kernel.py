"""Passes rows to native/exchange.c. Only `exchange.py` imports this file."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from dsnot_exp.methods import native
from dsnot_exp.methods.refine.exchange_gram import Gram


class _Task(ctypes.Structure):
    """As in exchange.c."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in (
            "gram", "mean", "diagonal", "shared", "reach", "blocks", "value", "gradient", "least",
            "mask", "swaps",
        )),
        *((name, ctypes.c_int64) for name in ("in", "most", "pool", "m")),
    ]  # fmt: skip


def available(value: Tensor) -> bool:
    return value.device.type == "cpu" and native.available("exchange")


def exchange_rows(
    gram: Gram, gradient: Tensor, least: Tensor, value: Tensor, mask: Tensor,
    most: int, pool: int, m: int,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """As exchange.Exchanger.step_by_step; `gradient` is overwritten. m: of N:M, else 0."""
    rows, width = value.shape
    found, swaps = mask.contiguous().clone(), torch.zeros(rows, dtype=torch.int64)
    bounds, blocks = ((None, None), gram.blocks(m)) if m else (gram.bounds(), None)
    given = (gram.matrix, gram.mean, gram.diagonal, *bounds, blocks, value, gradient, least)
    read = [None if part is None else part.contiguous() for part in given]
    assert all(part is None or part.dtype == torch.float32 for part in read)
    places = [None if part is None else part.data_ptr() for part in [*read, found, swaps]]
    task = _Task(*places, width, most, min(pool, width), m)
    run = native.entry(native.library("exchange"), "exchange_rows", _Task)
    native.over_rows(rows, lambda first, last: run(task, first, last))
    return found, swaps
