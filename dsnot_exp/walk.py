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
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from dsnot_exp.listen import Listener
from dsnot_exp.models.linears import Linear, linears
from dsnot_exp.ranks import ALONE, Ranks
from dsnot_exp.sequences import Fetch, Sequences, resident
from dsnot_exp.states import States
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
        """A block is solved and `sequences` are past it. May go on in the background."""

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
    model: nn.Module,
    blocks: tuple[str, nn.ModuleList],
    batches: list[Tensor],
    solver: Solver,
    dense: Sequence[str] = (),
    fetch: Fetch = resident,
    on_block: Callable[[], None] = lambda: None,
    timed: Callable[[str], AbstractContextManager[None]] = _untimed,
    states: States | None = None,
    keeper: Keeper | None = None,
    on_halved: Callable[[int], None] = lambda size: None,
    ranks: Ranks = ALONE,
) -> States:
    """Solve every block in order, each on the outputs of the sparse ones before it.

    `batches`: input ids (sequences, tokens). `dense`: globs of linears that stay as they are.
    Returns the last block's outputs (sequences, tokens, hidden), one per batch.
    """
    name, members = blocks
    keeper = keeper or Forgetful()
    sequences = Sequences(model, members, batches, states, fetch, on_halved)
    with timed("calibrate"):
        sequences.enter()
        replays = not keeper.recall(sequences)
    for index, member in enumerate(members):
        if index < keeper.finished and not replays:
            on_block()
            continue
        with ExitStack() as fetched:
            with timed("load"):
                module = fetched.enter_context(fetch(member))
            solved = None
            if index >= keeper.finished:
                block = Block(index, f"{name}.{index}", module, linears(module, dense))
                statistics: dict[str, InputStatistics] = {}
                if solver.needs:
                    with timed("calibrate"):
                        statistics = calibrate(block, sequences, solver.needs, ranks)
                solved = solver(block, statistics)
                del statistics
                with timed("keep"):
                    keeper.settle()
            with timed("calibrate"):
                sequences.propagate(index, module)
            if index >= keeper.finished:
                with timed("keep"):
                    keeper.keep(block, solved, sequences)
        on_block()
    with timed("keep"):
        keeper.settle()
    return sequences.states


def calibrate(
    block: Block, sequences: Sequences, needs: frozenset[str], ranks: Ranks
) -> dict[str, InputStatistics]:
    """The statistics of every linear's input over all sequences; shared where inputs are shared."""
    total = sum(ranks.gather(sequences.count))

    def listen() -> Listener:
        with Listener(block.name, block.linears, needs, total) as listener:
            for states, call in sequences.at(block.index):
                listener.begin(*states.shape[:2])
                call.replay(block.module, states)
        return listener

    return sequences.fitting(listen).finish(ranks)
