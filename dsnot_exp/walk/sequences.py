"""Sequences on their way through the blocks, in micro-batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from typing import TypeVar

import torch
from torch import Tensor, nn

from dsnot_exp.models.loading import hidden_size
from dsnot_exp.models.placement import Placed
from dsnot_exp.utils.batch_size import halve_on_out_of_memory
from dsnot_exp.utils.console import say
from dsnot_exp.utils.distributed import ALONE, Ranks
from dsnot_exp.walk.calls import Call
from dsnot_exp.walk.capture import capture
from dsnot_exp.walk.hidden_states import AUTO, States, Storage

T = TypeVar("T")
SPARSE, DENSE = "sparse", "dense"  # streams of hidden states
REMEDY = "lower calib.seqlen, or use device=cpu"  # if a single sequence does not fit

# Moves a block to the device, and back afterwards. Models bigger than memory read it from disk
# here.
Fetch = Callable[[nn.Module], AbstractContextManager[nn.Module]]


@contextmanager
def resident(block: nn.Module) -> Iterator[nn.Module]:
    """A block that is already on the device."""
    yield block


class Sequences:
    """Input ids, their current hidden states, and every block's own arguments.

    The hidden states are the outputs of the sparse blocks. Beside this stream there may be a second
    one, the outputs of the dense model's blocks for the same tokens.

    On out of memory, the micro-batch size is halved, down to one sequence.

    blocks: the name of the list of blocks in the model, and the list
    batches: input ids, (sequences, tokens) each
    held_out: the last batches of so many sequences do not count for statistics
    remedy: what the error suggests when a single sequence does not fit
    """

    def __init__(
        self,
        model: nn.Module,
        blocks: tuple[str, nn.ModuleList],
        batches: list[Tensor],
        states: States | None = None,
        fetch: Fetch = resident,
        on_halved: Callable[[int], None] = lambda size: None,
        remedy: str = REMEDY,
        held_out: int = 0,
        dense: States | None = None,
    ) -> None:
        self.held_out = held_out
        self.model, self.batches, self.fetch = model, batches, fetch
        self.name, self.blocks = blocks
        device = batches[0].device if batches else torch.device("cpu")
        self.streams = {SPARSE: States(device) if states is None else states}
        if dense is not None:
            self.streams[DENSE] = dense
        self._others: dict[type, int] = {}
        self._calls: list[list[Call]] = []  # by block and micro-batch; empty until captured
        self.on_halved, self.remedy = on_halved, remedy
        self.done = 0  # micro-batches that the current step has finished

    @property
    def states(self) -> States:
        """The hidden states of the sparse model."""
        return self.streams[SPARSE]

    @property
    def size(self) -> int:
        """The most sequences in a micro-batch."""
        return max((len(ids) for ids in self.batches), default=0)

    @property
    def count(self) -> int:
        """The sequences that count for statistics."""
        return sum(len(ids) for ids in self.batches) - self.held_out

    def enter(self) -> None:
        """Run the model up to the first block."""

        def begin() -> None:
            for states in self.streams.values():
                states.clear()
            self._calls = self._capture(keep)

        def keep(entered: Tensor) -> None:
            for states in self.streams.values():
                states.append(entered)

        self.fitting(begin)

    def held_out_at(self, index: int) -> Iterator[tuple[Tensor, Call]]:
        """The inputs of a block and its other arguments, per micro-batch of the held-out
        sequences."""
        for i, call in enumerate(self.calls(index)):
            if self.is_held_out(i):
                yield self.states[i], call

    def is_held_out(self, batch: int) -> bool:
        """Whether a micro-batch does not count for statistics."""
        return sum(len(ids) for ids in self.batches[:batch]) >= self.count

    @torch.no_grad()
    def propagate(self, index: int, module: nn.Module) -> None:
        """Replace the inputs of a block with its outputs, in place."""
        self.done = 0

        def forward() -> None:
            calls = self.calls(index)
            while self.done < len(self.states):
                call = calls[self.done]
                self.states[self.done] = call.replay(module, self.states[self.done])
                self.done += 1

        self.fitting(forward)

    def fitting(self, run: Callable[[], T]) -> T:
        """`run()`; on out of memory, once more with smaller micro-batches."""

        def with_batches_of(size: int) -> T:
            if size < self.size:
                self.split(size)
            return run()

        return halve_on_out_of_memory(self.size, with_batches_of, self.remedy, self.on_halved)

    def split(self, size: int) -> None:
        """Micro-batches of at most `size` sequences from now on."""
        self.done = sum(-(-len(ids) // size) for ids in self.batches[: self.done])
        self.batches = [part for ids in self.batches for part in ids.split(size)]
        for states in self.streams.values():
            states.split(size)
        self._calls = []

    def calls(self, index: int) -> list[Call]:
        """The block's arguments, per micro-batch."""
        self._calls = self._calls or self._capture(lambda states: None)
        return self._calls[index]

    def _capture(self, keep: Callable[[Tensor], None]) -> list[list[Call]]:
        return capture(self.model, self.blocks, self.batches, keep, self.fetch, self._others)


@contextmanager
def begin(
    placed: Placed,
    ids: Tensor | None,
    batch_size: int,
    storage: Storage = AUTO,
    ranks: Ranks = ALONE,
    remedy: str = REMEDY,
    held_out: Tensor | None = None,
    dense_stream: bool = False,
) -> Iterator[Sequences]:
    """This process's share of `ids` and of `held_out`, (sequences, tokens) both, before the first
    block of the model. No micro-batch mixes the two."""
    shares = [part[ranks.share(len(part))] for part in (ids, held_out) if part is not None]
    batches = [part.to(placed.device) for s in shares if len(s) for part in s.split(batch_size)]
    apart = len(shares[-1]) if held_out is not None else 0
    entries = sum(part.numel() for part in batches) * hidden_size(placed.model.config)
    size = entries * placed.model.dtype.itemsize * (1 + dense_stream)
    with closing(storage.states(size, placed.device)) as states:
        yield Sequences(
            placed.model, placed.blocks, batches, states, placed.fetch, _say_halved, remedy, apart,
            states.beside() if dense_stream else None,
        )  # fmt: skip


def _say_halved(size: int) -> None:
    say(f"out of memory on the device: continuing with {size} sequences at a time")
