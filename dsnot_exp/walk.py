"""The block walker: capture, calibrate, solve, propagate. The only loop over blocks.

    inputs of block 0, and every block's own arguments      one forward of the model without blocks
    for each block:
        calibrate   forward with hooks, up to its last linear: statistics of each linear's input
        solve       prune, refine: the block's linears become sparse
        propagate   forward of the sparse block: the inputs of the next; the last block has none

Blocks of one model differ in their arguments (sliding and full attention alternate), so each is
replayed with what the model's own forward gave to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn

from dsnot_exp.listen import Listener, Orders
from dsnot_exp.models.linears import Linear, linears
from dsnot_exp.ranks import ALONE, Ranks
from dsnot_exp.sequences import Sequences
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

    def __call__(self, block: Block, statistics: dict[str, InputStatistics]) -> Any: ...


class Keeper(Protocol):
    """Remembers what the walk has done, so that a walk that was stopped can go on.

    finished: blocks that are solved already; their modules hold the sparse weights
    """

    finished: int

    def recall(self, sequences: Sequences) -> bool:
        """Whether `sequences` now hold what came out of the last finished block."""

    def keep(self, block: Block, solved: Any, sequences: Sequences) -> None:
        """A block is solved and `sequences` are past it, unless it is the last. May go on in the
        background."""

    def settle(self) -> None:
        """What was given to `keep` is safe."""


class Forgetful:
    """Keeps nothing: the walk starts at the first block."""

    finished = 0

    def recall(self, sequences: Sequences) -> bool:
        return True

    def keep(self, block: Block, solved: Any, sequences: Sequences) -> None: ...

    def settle(self) -> None: ...


@contextmanager
def _untimed(phase: str) -> Iterator[None]:
    yield


@torch.no_grad()
def walk(
    sequences: Sequences,
    solver: Solver,
    dense: Sequence[str] = (),
    keeper: Keeper | None = None,
    on_block: Callable[[], None] = lambda: None,
    timed: Callable[[str], AbstractContextManager[None]] = _untimed,
    ranks: Ranks = ALONE,
) -> None:
    """Solve every block in order, each on the outputs of the sparse ones before it.

    `dense`: globs of linears that stay as they are.
    """
    keeper, orders = keeper or Forgetful(), Orders()
    last, replays = len(sequences.blocks) - 1, False
    if keeper.finished <= last:
        with timed("calibrate"):
            sequences.enter()
            replays = not keeper.recall(sequences)
    for index, member in enumerate(sequences.blocks):
        if index < keeper.finished and not replays:
            on_block()
            continue
        with ExitStack() as fetched:
            with timed("load"):
                module = fetched.enter_context(sequences.fetch(member))
            solved = None
            if index >= keeper.finished:
                block = Block(index, f"{sequences.name}.{index}", module, linears(module, dense))
                statistics: dict[str, InputStatistics] = {}
                if solver.needs:
                    with timed("calibrate"):
                        statistics = calibrate(block, sequences, solver.needs, orders, ranks)
                solved = solver(block, statistics)
                del statistics
                with timed("keep"):
                    keeper.settle()
            if index < last:
                with timed("calibrate"):
                    sequences.propagate(index, module)
            if index >= keeper.finished:
                with timed("keep"):
                    keeper.keep(block, solved, sequences)
        on_block()
    with timed("keep"):
        keeper.settle()


def calibrate(
    block: Block, sequences: Sequences, needs: frozenset[str], orders: Orders, ranks: Ranks
) -> dict[str, InputStatistics]:
    """The statistics of every linear's input over all sequences; shared where inputs are shared."""
    total = sum(ranks.gather(sequences.count))

    def listen() -> Listener:
        with Listener(block.name, block.linears, needs, total, orders) as listener:
            for states, call in sequences.at(block.index):
                with listener.forward(*states.shape[:2]):
                    call.replay(block.module, states)
        return listener

    return sequences.fitting(listen).finish(ranks)
