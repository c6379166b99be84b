"""A run's calibration sequences, before the first block."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from torch import Tensor

from dsnot_exp.data.tokens import Tokens
from dsnot_exp.evaluate.batches import per_forward
from dsnot_exp.models.placement import Placed
from dsnot_exp.plan import Plan
from dsnot_exp.sequences import Sequences
from dsnot_exp.states import States, choose_place
from dsnot_exp.track.console import say

log = logging.getLogger(__name__)


@contextmanager
def calibration(
    plan: Plan, tokens: Tokens | None, placed: Placed, folder: Path
) -> Iterator[Sequences]:
    """This process's share; no sequences where no method asks for any. `folder`: where hidden
    states go that memory does not hold."""
    batches = _batches(plan, tokens)
    with closing(_states(plan, batches, placed, folder)) as states:
        yield Sequences(placed.model, placed.blocks, batches, states, placed.fetch, _on_halved)


def _batches(plan: Plan, tokens: Tokens | None) -> list[Tensor]:
    if tokens is None:
        return []
    size = plan.config.calib.batch_size or per_forward(tokens.ids.shape[1])
    share = tokens.ids[plan.ranks.share(len(tokens.ids))]
    return [ids.to(plan.device) for ids in share.split(size)]


def _states(plan: Plan, batches: list[Tensor], placed: Placed, folder: Path) -> States:
    config = placed.model.config.get_text_config()
    size = sum(ids.numel() for ids in batches) * config.hidden_size * placed.model.dtype.itemsize
    place = choose_place(plan.config.calib.states, size, plan.device)
    log.info("hidden states: %.2f GiB, kept in %s", size / 2**30, place)
    return States(plan.device, place, folder)


def _on_halved(size: int) -> None:
    say(f"out of memory on the device: going on with {size} calibration sequences at a time")
