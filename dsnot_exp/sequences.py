"""The calibration sequences on their way through the blocks, micro-batch by micro-batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TypeVar

import torch
from torch import Tensor, nn

from dsnot_exp.capture import Call, capture
from dsnot_exp.errors import RunError
from dsnot_exp.states import States

T = TypeVar("T")

# Brings a block to where it is solved, and puts it back. Models bigger than memory plug in here.
Fetch = Callable[[nn.Module], AbstractContextManager[nn.Module]]


@contextmanager
def resident(block: nn.Module) -> Iterator[nn.Module]:
    """A block that already is where it is used."""
    yield block


class Sequences:
    """Input ids, the hidden states that they have become, and every block's own arguments.

    `blocks`: their name in the model, and they. `batches`: input ids (sequences, tokens).

    Where the device's memory does not do, micro-batches are halved, down to one sequence.
    """

    def __init__(
        self,
        model: nn.Module,
        blocks: tuple[str, nn.ModuleList],
        batches: list[Tensor],
        states: States | None = None,
        fetch: Fetch = resident,
        on_halved: Callable[[int], None] = lambda size: None,
    ) -> None:
        self.model, self.batches, self.fetch = model, batches, fetch
        self.name, self.blocks = blocks
        device = batches[0].device if batches else torch.device("cpu")
        self.states = States(device) if states is None else states
        self._calls: list[list[Call]] = []  # by block and micro-batch; empty: to be captured
        self.on_halved = on_halved
        self.done = 0  # micro-batches that are past the block that is being propagated

    @property
    def size(self) -> int:
        """Sequences per micro-batch, at most."""
        return max((len(ids) for ids in self.batches), default=0)

    @property
    def count(self) -> int:
        return sum(len(ids) for ids in self.batches)

    def enter(self) -> None:
        """Everything up to the first block."""

        def begin() -> None:
            self.states.clear()
            self._calls = self._capture(self.states.append)

        self.fitting(begin)

    def at(self, index: int) -> Iterator[tuple[Tensor, Call]]:
        """The inputs of a block, and its arguments, per micro-batch."""
        for i, call in enumerate(self._calls_of(index)):
            yield self.states[i], call

    def propagate(self, index: int, module: nn.Module) -> None:
        """Replace the inputs of a block with its outputs, in place: one copy of the states."""
        self.done = 0

        def forward() -> None:
            calls = self._calls_of(index)
            while self.done < len(self.states):
                call = calls[self.done]
                self.states[self.done] = call.replay(module, self.states[self.done])
                self.done += 1

        self.fitting(forward)

    def fitting(self, run: Callable[[], T]) -> T:
        """`run()`, once more with smaller micro-batches as long as memory does not do."""
        while True:
            try:
                return run()
            except torch.OutOfMemoryError as error:
                if self.size <= 1:
                    raise RunError(
                        "out of memory on the device with one calibration sequence at a time; "
                        "lower calib.seqlen, or use device=cpu"
                    ) from error
            # Outside of the handler, whose traceback holds the tensors.
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            self.split(self.size // 2)
            self.on_halved(self.size)

    def split(self, size: int) -> None:
        """Micro-batches of at most `size` sequences from now on."""
        self.done = sum(-(-len(ids) // size) for ids in self.batches[: self.done])
        self.batches = [part for ids in self.batches for part in ids.split(size)]
        self.states.split(size)
        self._calls = []

    def _calls_of(self, index: int) -> list[Call]:
        self._calls = self._calls or self._capture(lambda states: None)
        return self._calls[index]

    def _capture(self, keep: Callable[[Tensor], None]) -> list[list[Call]]:
        return capture(self.model, self.blocks, self.batches, keep, self.fetch)
