"""Perplexity by the papers' protocol (released code, lib/eval.py)."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dsnot_exp.evaluate.losses import Losses
from dsnot_exp.evaluate.unfinished import NOTHING, Batch, Unfinished
from dsnot_exp.utils.batch_size import halve_on_out_of_memory
from dsnot_exp.utils.console import say
from dsnot_exp.utils.distributed import ALONE, Ranks
from dsnot_exp.utils.errors import RunError

log = logging.getLogger(__name__)

REMEDY = "lower eval.seqlen, or use eval.streaming=true or device=cpu"


@torch.no_grad()
def perplexity(
    model: Any,
    blocks: Tensor,
    batch_size: int,
    on_batch: Callable[[int], None] = lambda n: None,
    ranks: Ranks = ALONE,
    unfinished: Unfinished = NOTHING,
) -> float:
    """exp of the mean over blocks of each block's mean loss over its S - 1 predictions.

    blocks: (blocks, S) token ids, this process's share
    batch_size: halved on out-of-memory
    unfinished: the batches that an earlier process has finished, and where this one keeps its own
    """
    known = unfinished.read(len(blocks))
    known = known if known and _same_model(model, blocks, known[0]) else []
    done = sum(count for _, count in known)
    if done:
        say(f"resuming the perplexity at sequence {done + 1} of {len(blocks)}")
        on_batch(done)
        batch_size = known[-1][1]  # it may have been halved
    found = _all_losses(model, blocks, batch_size, done)
    return exp_of_mean(found, on_batch, ranks, known, unfinished)


def _same_model(model: Any, blocks: Tensor, first: Batch) -> bool:
    """Whether the first batch still has this loss. Training on a GPU need not give the same weights
    twice, and a perplexity must not be of two models."""
    total, count = first
    try:
        same = float(Losses(model)(blocks[:count].to(model.device)).sum()) == total
    except torch.OutOfMemoryError:  # less memory is free than was: smaller batches
        same = False
    if not same:
        log.warning("the first batch has another loss than before: starting over")
    return same


def _all_losses(model: Any, blocks: Tensor, size: int, done: int = 0) -> Iterator[Tensor]:
    losses = Losses(model)
    while done < len(blocks):

        def forward(some: int) -> Tensor:
            ids = blocks[done : done + some].to(model.device)  # noqa: B023
            return losses(ids)

        found = halve_on_out_of_memory(size, forward, REMEDY)
        if not bool(torch.isfinite(found).all()):
            ids = blocks[done : done + len(found)].to(model.device)
            raise RunError(f"{first_nonfinite(model, ids)}: its output contains NaN or infinity")
        done, size = done + len(found), len(found)
        yield found


def exp_of_mean(
    found: Iterable[Tensor],
    on_batch: Callable[[int], None],
    ranks: Ranks = ALONE,
    known: Sequence[Batch] = (),
    unfinished: Unfinished = NOTHING,
) -> float:
    """exp of the mean loss over all processes. `found`: the losses of this process's sequences, by
    batch; `known`: the batches before them."""
    sums = list(known)
    for some in found:
        sums.append((float(some.sum()), len(some)))
        unfinished.keep(sums)
        on_batch(len(some))
    everyones = [part for parts in ranks.gather(sums) for part in parts]
    return math.exp(sum(total for total, _ in everyones) / sum(count for _, count in everyones))


def first_nonfinite(model: nn.Module, ids: Tensor) -> str:
    """Name of the first module in the forward pass whose output is not finite."""
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
