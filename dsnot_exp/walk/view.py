"""What a solver may ask of the block that the walk has reached."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from dsnot_exp.methods.protocols import Needs
from dsnot_exp.methods.statistics import InputStatistics
from dsnot_exp.models.linears import Linear
from dsnot_exp.utils.distributed import Ranks
from dsnot_exp.walk.calls import Call
from dsnot_exp.walk.collect import Collector, Orders
from dsnot_exp.walk.follow import Follower
from dsnot_exp.walk.sequences import DENSE, Sequences


@dataclass(frozen=True)
class BlockView:
    """A decoder layer on the device, its prunable matrices by name inside the block, and the
    calibration sequences that have reached it.

    orders: the order in which blocks seen so far call their linears
    """

    index: int
    name: str
    module: nn.Module
    linears: dict[str, Linear]
    sequences: Sequences
    orders: Orders
    ranks: Ranks
    timed: Callable[[str], AbstractContextManager[None]]

    def statistics(self, needs: Needs) -> dict[str, InputStatistics]:
        """The statistics of each linear's input over all sequences of all processes. Linears with
        the same input share one Gram matrix. Runs the block forward up to its last linear.

        A dense stream passes through the block at the same time: call this once, while the block
        has its dense weights. From then on the stream holds the dense block's outputs."""
        if not needs:
            return {}
        with self.timed("calibrate"):
            return self._collect(needs)

    def inputs(self) -> Iterator[Tensor]:
        """The hidden states (sequences, tokens, hidden) that enter the block, per micro-batch: the
        outputs of the sparse blocks before it."""
        yield from self.sequences.states

    @torch.no_grad()
    def held_out_outputs(self) -> Tensor:
        """(sequences, tokens, hidden): what the block, with its present weights, makes of this
        process's held-out sequences."""

        def run() -> list[Tensor]:
            at = self.sequences.held_out_at(self.index)
            return [call.replay(self.module, states) for states, call in at]

        outputs = self.sequences.fitting(run)
        return torch.cat(outputs) if outputs else torch.empty(0, 1, 1)

    @torch.no_grad()
    def _collect(self, needs: Needs) -> dict[str, InputStatistics]:
        sequences = self.sequences
        total = sum(self.ranks.gather(sequences.count))
        dense = sequences.streams.get(DENSE)

        def run() -> Collector:
            follower = None if dense is None else Follower(self.linears, needs, dense)
            tools = self.name, self.linears, needs, total, self.orders, follower
            with Collector(*tools) as collector:
                for i, call in enumerate(sequences.calls(self.index)):
                    if follower is not None:
                        follower.advance(i, call, self.module)
                    if not sequences.is_held_out(i):
                        self._count(collector, call, sequences.states[i])
            return collector

        collector = sequences.fitting(run)
        if collector.follower is not None:
            sequences.streams[DENSE] = collector.follower.after
        return collector.finish(self.ranks)

    def _count(self, collector: Collector, call: Call, hidden: Tensor) -> None:
        """Count a micro-batch of the sparse model's hidden states."""
        with collector.forward(*hidden.shape[:2]), collector.paired(hidden):
            call.replay(self.module, hidden)


class Solver(Protocol):
    """What is done to each block. The walk passes what it returns to the keeper."""

    def __call__(self, view: BlockView) -> Any: ...
