"""Chooses the number of sequences per forward, and halves it on out-of-memory."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

import torch

from dsnot_exp.utils import accelerator
from dsnot_exp.utils.errors import RunError

T = TypeVar("T")
log = logging.getLogger(__name__)

TOKENS_PER_FORWARD = 4096  # enough to fill a matrix product
LOGITS_SHARE = 1 / 16  # of the device's memory, for one forward's logits in float32


def per_forward(seqlen: int) -> int:
    """Sequences per forward: about 4096 tokens."""
    return max(1, TOKENS_PER_FORWARD // seqlen)


def fitting(seqlen: int, vocabulary: int, device: torch.device) -> int:
    """Sequences per forward that computes logits. It depends on the device's total memory, not on
    the free memory, so that the same command gives the same digits every time."""
    most = int(LOGITS_SHARE * accelerator.total_memory(device) / (4 * vocabulary * seqlen))
    return max(1, min(per_forward(seqlen), most))


def _log_halved(size: int) -> None:
    log.warning("out of memory on the device: continuing with a batch size of %d", size)


def halve_on_out_of_memory(
    size: int,
    run: Callable[[int], T],
    remedy: str,
    on_halved: Callable[[int], None] = _log_halved,
) -> T:
    """`run(size)`; on out of memory, `run` again with half the size, and so on down to 1.

    remedy: what the error suggests when a single sequence does not fit
    """
    while True:
        try:
            return run(size)
        except torch.OutOfMemoryError as error:
            if size <= 1:
                raise RunError(
                    f"out of memory on the device with one sequence at a time; {remedy}"
                ) from error
        # Outside the except block: its traceback keeps the tensors alive.
        accelerator.release_memory()
        size //= 2
        on_halved(size)
