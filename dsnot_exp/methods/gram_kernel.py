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


class _Gram(ctypes.Structure):
    """As in gram.c."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("tokens", "panels", "turned", "gram")),
        *((name, ctypes.c_int64) for name in ("sequences", "count", "width", "pairs")),
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
    gram = torch.zeros(51, 51)
    add_gram(gram, tokens, library)
    flat = tokens.flatten(0, 1).float()
    return torch.equal(gram.triu(), (flat.T @ flat).triu())


def add_gram(gram: Tensor, tokens: Tensor, library: ctypes.CDLL | None = None) -> None:
    """As gram.add_gram, for bfloat16 `tokens: (sequences, tokens, in)` in memory.

    library: the compiled gram.c, if not this processor's
    """
    library = library or native.library("gram")
    for part in tokens.split(SLICE, dim=1):
        _add(gram, part.contiguous(), library)


def _add(gram: Tensor, tokens: Tensor, library: ctypes.CDLL) -> None:
    sequences, count, width = tokens.shape
    pairs = -(-count // TOGETHER) * TOGETHER // 2
    panels = torch.empty(sequences, -(-width // LANES), pairs, LANES, dtype=torch.int32)
    turned = torch.empty_like(panels) if library.matrix_units() == 2 else panels
    pointers = (tensor.data_ptr() for tensor in (tokens, panels, turned, gram))
    task = _Gram(*pointers, sequences, count, width, pairs)
    pack, add = (native.entry(library, step, _Gram) for step in ("pack", "add_gram"))
    last = panels.shape[1]
    pack(task, 0, sequences)  # too little work for several threads
    span = last if sequences * count * width**2 < LITTLE else SPAN
    native.over_rows(
        -(-last // span),
        lambda low, high: add(task, low * span, min(high * span, last)),
    )
