"""Passes bfloat16 tokens to native/gram.c, which uses the processor's bfloat16 products. Only
`gram.py` imports this file."""

from __future__ import annotations

import ctypes
import functools
import logging

import torch
from torch import Tensor

from dsnot_exp.methods import native

log = logging.getLogger(__name__)

LANES = 16  # columns of a panel
TOGETHER = 32  # tokens that AMX multiplies at once
SPAN = 6  # panels that one thread takes: a multiple of the 2 or 3 that are summed together
SLICE = 2048  # tokens whose panels fit in a core's cache
LITTLE = 1 << 32  # products that one thread does as soon as several: torch's threads still spin


class _Packed(ctypes.Structure):
    """As in gram.c."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("tokens", "panels", "turned")),
        *((name, ctypes.c_int64) for name in ("sequences", "count", "width", "pairs")),
    ]


class _Products(ctypes.Structure):
    """As in gram.c."""

    _fields_ = [
        ("left", _Packed),
        ("right", _Packed),
        ("sums", ctypes.c_void_p),
        ("upper", ctypes.c_int64),
    ]


@functools.cache
def available() -> bool:
    """Whether there is a compiler, and the processor multiplies bfloat16 numbers, rightly."""
    if not native.available("gram") or native.library("gram").matrix_units() == 0:
        return False
    if not is_right():
        log.warning("gram.c gives wrong sums on this processor: using float32 copies, slower")
        return False
    return True


def is_right(library: ctypes.CDLL | None = None) -> bool:
    """Whether sums of small integers, which are exact, are what they should be."""
    tokens = (torch.arange(2 * 70 * 51) % 7 - 3).bfloat16().view(2, 70, 51)
    gram, cross, left = torch.zeros(51, 51), torch.zeros(37, 51), tokens[..., 14:].contiguous()
    add_gram(gram, tokens, library)
    add_cross(cross, left, tokens, library)
    flat = tokens.flatten(0, 1).float()
    wanted = flat.T @ flat
    return torch.equal(gram.triu(), wanted.triu()) and torch.equal(cross, wanted[14:])


def add_gram(gram: Tensor, tokens: Tensor, library: ctypes.CDLL | None = None) -> None:
    """As gram.add_gram, for bfloat16 `tokens: (sequences, tokens, in)` in memory.

    library: the compiled gram.c, if not this processor's
    """
    library = library or native.library("gram")
    for part in tokens.split(SLICE, dim=1):
        _add(gram, part.contiguous(), None, library)


def add_cross(
    sums: Tensor, left: Tensor, right: Tensor, library: ctypes.CDLL | None = None
) -> None:
    """As gram.add_cross, for bfloat16 `left: (sequences, tokens, out)` and `right: (.., in)`."""
    library = library or native.library("gram")
    for a, b in zip(left.split(SLICE, dim=1), right.split(SLICE, dim=1), strict=True):
        _add(sums, b.contiguous(), a.contiguous(), library)


def _add(sums: Tensor, tokens: Tensor, left: Tensor | None, library: ctypes.CDLL) -> None:
    """left: None for a Gram matrix"""
    columns, *_kept = _pack(tokens, library)  # the tensors behind the pointers
    rows, *_also_kept = (columns,) if left is None else _pack(left, library)
    task = _Products(rows, columns, sums.data_ptr(), left is None)
    add = native.entry(library, "add_products", _Products)
    last = -(-columns.width // LANES)
    little = columns.sequences * columns.count * rows.width * columns.width < LITTLE
    span = last if little else SPAN
    native.over_rows(
        -(-last // span),
        lambda low, high: add(task, low * span, min(high * span, last)),
    )


def _pack(tokens: Tensor, library: ctypes.CDLL) -> tuple[_Packed, Tensor, Tensor]:
    """The panels of tokens (sequences, tokens, width), and the tensors that hold them."""
    sequences, count, width = tokens.shape
    pairs = -(-count // TOGETHER) * TOGETHER // 2
    panels = torch.empty(sequences, -(-width // LANES), pairs, LANES, dtype=torch.int32)
    turned = torch.empty_like(panels) if library.matrix_units() == 2 else panels
    pointers = (tensor.data_ptr() for tensor in (tokens, panels, turned))
    packed = _Packed(*pointers, sequences, count, width, pairs)
    native.entry(library, "pack", _Packed)(packed, 0, sequences)  # too little for several threads
    return packed, panels, turned
