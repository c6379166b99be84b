"""The block walker: capture, calibrate, solve, propagate. The only loop over blocks.

    inputs of block 0, and every block's own arguments      one forward of the model without blocks
    for each block:
        calibrate   forward with hooks: statistics of each linear's input
        solve       prune, refine: the block's linears become sparse
        propagate   forward of the sparse block: the inputs of the next

Blocks of one model differ in their arguments (sliding and full attention alternate), so each is
replayed with what the model's own forward gave to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from dsnot_exp.capture import Call, capture
from dsnot_exp.listen import Listener
from dsnot_exp.models.linears import Linear, linears
from dsnot_exp.statistics import InputStatistics


@dataclass(frozen=True)
class Block:
    """A decoder layer and its prunable matrices by name inside the block, on the device."""

    index: int
    name: str
    module: nn.Module
    linears: dict[str, Linear]


class Solver(Protocol):
    """What is done to a block. `needs`: the statistics of its linears' inputs."""

    needs: frozenset[str]

    def __call__(self, block: Block, statistics: dict[str, InputStatistics]) -> None: ...


# Brings a block to where it is solved, and puts it back. Models bigger than memory plug in here.
Fetch = Callable[[nn.Module], AbstractContextManager[nn.Module]]


@contextmanager
def _untimed(phase: str) -> Iterator[None]:
    yield


@contextmanager
def resident(block: nn.Module) -> Iterator[nn.Module]:
    """A block that already is where it is used."""
    yield block


@torch.no_grad()
def walk(
    model: nn.Module,
    blocks: tuple[str, nn.ModuleList],
    batches: list[Tensor],
    solver: Solver,
    dense: Sequence[str] = (),
    fetch: Fetch = resident,
    on_block: Callable[[], None] = lambda: None,
    timed: Callable[[str], AbstractContextManager[None]] = _untimed,
) -> list[Tensor]:
    """Solve every block in order, each on the outputs of the sparse ones before it.

    `batches`: input ids (sequences, tokens). `dense`: globs of linears that stay as they are.
    Returns the last block's outputs (sequences, tokens, hidden), one per batch.
    """
    name, members = blocks
    with timed("calibrate"):
        hidden, calls = capture(model, members, batches)
    for index, member in enumerate(members):
        with fetch(member) as module:
            block = Block(index, f"{name}.{index}", module, linears(module, dense))
            statistics: dict[str, InputStatistics] = {}
            if solver.needs:
                with timed("calibrate"):
                    statistics = calibrate(block, hidden, calls[index], solver.needs)
            solver(block, statistics)
            with timed("calibrate"):
                for i, states in enumerate(hidden):  # in place: one copy of the hidden states
                    hidden[i] = calls[index][i].replay(module, states)
        on_block()
    return hidden


def calibrate(
    block: Block, hidden: list[Tensor], calls: list[Call], needs: frozenset[str]
) -> dict[str, InputStatistics]:
    """The statistics of every linear's input over all batches; shared where inputs are shared."""
    total = sum(map(len, hidden))
    with Listener(block.name, block.linears, needs, total) as listener:
        for states, call in zip(hidden, calls, strict=True):
            listener.begin(*states.shape[:2])
            call.replay(block.module, states)
    return listener.finish()
