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

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from dsnot_exp.capture import Call, capture
from dsnot_exp.errors import RunError
from dsnot_exp.models.linears import linears
from dsnot_exp.statistics import Accumulator, InputStatistics


@dataclass(frozen=True)
class Block:
    """A decoder layer and its linear layers by name inside the block, on the device."""

    index: int
    name: str
    module: nn.Module
    linears: dict[str, nn.Module]


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
    fetch: Fetch = resident,
    on_block: Callable[[], None] = lambda: None,
    timed: Callable[[str], AbstractContextManager[None]] = _untimed,
) -> list[Tensor]:
    """Solve every block in order, each on the outputs of the sparse ones before it.

    `batches`: input ids (sequences, tokens). Returns the last block's outputs
    (sequences, tokens, hidden), one per batch.
    """
    name, members = blocks
    with timed("calibrate"):
        hidden, calls = capture(model, members, batches)
    for index, member in enumerate(members):
        with fetch(member) as module:
            block = Block(index, f"{name}.{index}", module, linears(module))
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
    with Listener(block, needs) as listener:
        for states, call in zip(hidden, calls, strict=True):
            listener.begin(len(states))
            call.replay(block.module, states)
    return listener.finish()


class Listener:
    """Forward hooks that count each distinct input of a block's linears once.

    q, k and v see the same tensor: the first of them leads, and the others use its statistics.
    Who shares is found in the first batch; the tensors are held until the forward is over, so
    that memory which is used again cannot be taken for the same input.
    """

    def __init__(self, block: Block, needs: frozenset[str]) -> None:
        self.block, self.needs = block, needs
        self.accumulators: dict[str, Accumulator] = {}
        self.leader: dict[str, str] = {}
        self.seen: list[tuple[Tensor, str]] = []
        self.sequences = 0

    def __enter__(self) -> Listener:
        self.handles = [
            module.register_forward_pre_hook(lambda _, args, name=name: self._count(name, args[0]))
            for name, module in self.block.linears.items()
        ]
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self.handles:
            handle.remove()
        self.seen.clear()

    def begin(self, sequences: int) -> None:
        """A forward of so many sequences starts."""
        self.sequences = sequences
        self.seen.clear()

    def _count(self, name: str, inputs: Tensor) -> None:
        if name not in self.leader:
            self.leader[name] = next((n for t, n in self.seen if _same(t, inputs)), name)
        if self.leader[name] != name:
            return
        self.seen.append((inputs, name))
        if name not in self.accumulators:
            self.accumulators[name] = Accumulator(inputs.shape[-1], self.needs, inputs.device)
        # OPT hands (sequences * tokens, hidden) to its fc layers.
        self.accumulators[name].update(inputs.reshape(self.sequences, -1, inputs.shape[-1]))

    def finish(self) -> dict[str, InputStatistics]:
        leaders = {name: a.finish() for name, a in self.accumulators.items()}
        for name, statistics in leaders.items():
            total = statistics.mean.sum() + statistics.norm.sum()
            if not bool(torch.isfinite(total)):
                raise RunError(
                    f"{self.block.name}.{name}: its calibration inputs hold NaN or infinity; "
                    "try model.dtype=float32"
                )
        missing = self.block.linears.keys() - self.leader.keys()
        if missing:
            raise RunError(
                f"{self.block.name}.{min(missing)}: saw no calibration input; raise calib.samples"
            )
        return {name: leaders[self.leader[name]] for name in self.block.linears}


def _same(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors are views of the same numbers."""
    return (
        a.data_ptr() == b.data_ptr()
        and a.shape == b.shape
        and a.stride() == b.stride()
        and a._version == b._version
    )
