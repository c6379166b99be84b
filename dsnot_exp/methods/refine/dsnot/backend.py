"""Chooses what runs the cycles: a Triton kernel on a GPU, compiled C on a CPU, else tensor
operations. The choice is automatic and never changes a mask."""

from __future__ import annotations

import importlib.util
import logging
import os

import torch
from torch import Tensor

from dsnot_exp.methods import native
from dsnot_exp.methods.patterns import NM
from dsnot_exp.methods.protocols import Layer
from dsnot_exp.methods.refine.dsnot import c_kernel

log = logging.getLogger(__name__)

COMPILED = ("cuda", "xpu")  # kinds of device for which Triton has compilers; AMD's are cuda too
_failed: set[torch.device] = set()


def usable(weight: Tensor) -> bool:
    """Whether a kernel can refine `weight: (out, in)`. On a GPU this takes Triton (CPU builds of
    torch do not have it); in memory, a C compiler."""
    if weight.device in _failed:
        return False
    if on_triton(weight):
        return importlib.util.find_spec("triton") is not None
    in_memory = weight.device.type == "cpu" and weight.dtype in c_kernel.DTYPES
    return in_memory and native.available("dsnot_rows")


def kernel(device: torch.device, dtype: torch.dtype) -> str:
    """What refines weights of this kind here: `triton`, `c`, or `torch` operations."""
    example = torch.empty(1, 1, dtype=dtype, device=device)
    if not usable(example):
        return "torch"
    return "triton" if on_triton(example) else "c"


def on_triton(weight: Tensor) -> bool:
    """TRITON_INTERPRET=1, Triton's debugging switch, runs the kernel on the CPU."""
    return weight.device.type in COMPILED or os.environ.get("TRITON_INTERPRET") == "1"


def swap(
    layer: Layer, divisor: Tensor, error: Tensor, cycles: int, threshold: float,
    flip_stops: bool, run_on: bool,
) -> tuple[Tensor, Tensor, Tensor] | None:  # fmt: skip
    """`divisor: (in,)`, `error: (out,)` -> (mask, error after, swaps), or None if it cannot run.

    If a kernel fails (no compiler, a GPU that Triton does not know), a warning is logged once, and
    tensor operations refine that device's layers.
    """
    statistics, initial, pattern = layer.statistics, layer.initial, layer.pattern
    present = initial.weight if initial.moved else layer.weight
    unit = statistics.sequence_length * statistics.mean
    try:
        if on_triton(layer.weight):
            from dsnot_exp.methods.refine.dsnot.triton_kernel import refine_rows
        else:
            refine_rows = c_kernel.refine_rows
        return refine_rows(
            layer.weight, present, initial.scores, initial.mask, unit, divisor,
            statistics.norm, error, cycles, threshold,
            pattern.m if isinstance(pattern, NM) else 0, flip_stops, run_on,
        )  # fmt: skip
    except Exception as failure:  # whatever Triton, a compiler or the driver raises
        _failed.add(layer.weight.device)
        reason = (str(failure) or type(failure).__name__).splitlines()[0]
        log.warning(
            "DSnoT's kernel does not run on %s (%s): using tensor operations, slower, "
            "with the same result",
            layer.weight.device,
            reason,
        )
        return None
