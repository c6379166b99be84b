"""The loop over blocks: capture, then solve and propagate one block at a time. Pruning and
block-by-block perplexity both run through it.

    inputs of block 0, and every block's own arguments      one forward of the model without blocks
    for each block:
        solve       what the solver does: collect statistics, prune, refine
        propagate   forward through the solved block gives the next block's inputs; the last block
                    is not propagated

Blocks of one model differ in their arguments (sliding and full attention alternate), so each block
is replayed with the arguments that the model's own forward passed to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, Protocol

from dsnot_exp.models.linears import owned
from dsnot_exp.utils.distributed import ALONE, Ranks
from dsnot_exp.walk.collect import Orders
from dsnot_exp.walk.sequences import Sequences
from dsnot_exp.walk.view import BlockView, Solver


class Keeper(Protocol):
    """Saves what the walk has done, so that an interrupted walk can resume.

    finished: the number of blocks solved earlier; their modules hold the sparse weights
    """

    finished: int

    def recall(self, sequences: Sequences) -> bool:
        """Load the outputs of the last finished block into `sequences`; False if they are not
        available."""

    def keep(self, view: BlockView, solved: Any) -> None:
        """Save a solved block. Its sequences have been propagated, unless it is the last block.
        May return before the files are written."""

    def settle(self) -> None:
        """Wait until everything given to `keep` is on disk."""


class NoKeeper:
    """Saves nothing: the walk starts at the first block."""

    finished = 0

    def recall(self, sequences: Sequences) -> bool:
        return True

    def keep(self, view: BlockView, solved: Any) -> None: ...

    def settle(self) -> None: ...


@contextmanager
def untimed(phase: str) -> Iterator[None]:
    yield


def walk(
    sequences: Sequences,
    solver: Solver,
    dense: Sequence[str] = (),
    keeper: Keeper | None = None,
    on_block: Callable[[], None] = lambda: None,
    timed: Callable[[str], AbstractContextManager[None]] = untimed,
    ranks: Ranks = ALONE,
) -> None:
    """Solve the blocks in order, each on the outputs of the solved blocks before it.

    dense: globs of linears that the solver is not shown
    """
    keeper, orders = keeper or NoKeeper(), Orders()
    last, replays = len(sequences.blocks) - 1, False
    own = owned(sequences.blocks, dense)
    if keeper.finished <= last:
        with timed("calibrate"):
            sequences.enter()
            replays = not keeper.recall(sequences)
    for index, member in enumerate(sequences.blocks):
        finished = index < keeper.finished
        if finished and not replays:
            on_block()
            continue
        with ExitStack() as fetched:
            with timed("load"):
                module = fetched.enter_context(sequences.fetch(member))
            name = f"{sequences.name}.{index}"
            view = BlockView(index, name, module, own[index], sequences, orders, ranks, timed)
            solved = None if finished else solver(view)
            # Before the hidden states change: the last block may still be being written.
            with timed("keep"):
                keeper.settle()
            if index < last:
                with timed("calibrate"):
                    sequences.propagate(index, module)
            if not finished:
                with timed("keep"):
                    keeper.keep(view, solved)
        on_block()
    with timed("keep"):
        keeper.settle()
