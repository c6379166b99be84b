"""Trains the kept weights of a block whose layers are sparse, and measures its layers anew."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from dsnot_exp.methods.block_protocols import BlockReconstructor, Loss
from dsnot_exp.methods.layer_error import expected_error_of, relative_errors
from dsnot_exp.methods.statistics import InputStatistics
from dsnot_exp.models.linears import Linear
from dsnot_exp.utils.distributed import Ranks
from dsnot_exp.utils.errors import RunError
from dsnot_exp.walk.calls import Call
from dsnot_exp.walk.record import BlockFit, LayerRecord
from dsnot_exp.walk.sequences import DENSE
from dsnot_exp.walk.view import BlockView

NO_ROOM = "lower calib.seqlen, use device=cpu, or choose reconstruct=none"


@dataclass(frozen=True)
class Written:
    """A layer whose sparse weight is in the block. mask: (out, in); dense: this process's rows of
    the dense weight; ranks: the processes that share out the rows"""

    linear: Linear
    mask: Tensor
    dense: Tensor
    statistics: InputStatistics | None
    ranks: Ranks

    def measured_anew(self, record: LayerRecord, how: str) -> LayerRecord:
        """`record`, with the errors of the weights that are in the block now."""
        if self.statistics is None:
            return record
        sparse = self.linear.weight[self.ranks.share(len(self.mask))]
        pair = sparse, sparse
        _, (after, _) = relative_errors(self.dense, pair, self.statistics, how, self.ranks)
        rows = self.ranks.concat(expected_error_of(self.dense, sparse, self.statistics))
        return replace(record, expected_after=float(rows.abs().mean()), relative_after=after)


@dataclass
class BlockStage:
    """The reconstruction of one block. Layers are added once they are sparse."""

    reconstructor: BlockReconstructor
    view: BlockView
    how: str  # the recipe's relative_error
    ranks: Ranks
    layers: list[Written] = field(default_factory=list)

    def add(
        self,
        linear: Linear,
        mask: Tensor,
        dense: Tensor,
        statistics: InputStatistics | None,
        ranks: Ranks,
    ) -> None:
        """Keeps of the statistics only what errors are measured with."""
        if statistics is not None:
            statistics = replace(
                statistics,
                gram=statistics.gram if self.how == "true" else None,
                unit_gram=None,
                drift=None,
                residual_drift=None,
                derived={},
            )
        self.layers.append(Written(linear, mask, dense, statistics, ranks))

    def run(self, seed: int) -> BlockFit:
        """Train the kept weights, in place."""
        linears = [layer.linear for layer in self.layers]
        masks = [layer.mask for layer in self.layers]
        # Each block has its own generator: it does not matter at which block a run resumes.
        name = self.view.name
        generator = torch.Generator().manual_seed(zlib.crc32(f"{seed}:{name}".encode()))
        batch = per_process(self.reconstructor, self.ranks)
        with trainable(self.view.module, linears):
            try:
                fit = self.reconstructor.train_block(
                    linears, masks, OnSequences(self.view, batch), generator, self.ranks
                )
            except ArithmeticError as error:
                raise RunError(f"{name}: {error}") from error
            except torch.OutOfMemoryError as error:
                raise RunError(f"{name}: out of memory in its training; {NO_ROOM}") from error
        return BlockFit(name, fit.before, fit.after, fit.epochs, fit.chosen)

    def measured_anew(self, records: Sequence[LayerRecord]) -> list[LayerRecord]:
        pairs = zip(self.layers, records, strict=True)
        return [layer.measured_anew(record, self.how) for layer, record in pairs]


@dataclass(frozen=True)
class OnSequences:
    """A block on its sequences: methods/block_protocols.Training.

    batch: sequences in a batch; no micro-batch has sequences of two batches
    """

    view: BlockView
    batch: int

    @property
    def batches(self) -> int:
        return -(-self.view.sequences.count // self.batch)

    def backward(self, batch: int, loss: Loss) -> tuple[float, int]:
        first = batch * self.batch
        last = min(first + self.batch, self.view.sequences.count)

        def run() -> tuple[float, int]:
            self.view.module.zero_grad(set_to_none=True)  # also of a try that ran out of memory
            return self._losses(first, last, loss, learns=True)

        return self.view.sequences.fitting(run)

    def held_out(self, loss: Loss) -> tuple[float, int]:
        sequences = self.view.sequences
        first = sequences.count
        last = first + sequences.held_out
        return sequences.fitting(lambda: self._losses(first, last, loss, learns=False))

    def _losses(self, first: int, last: int, loss: Loss, learns: bool) -> tuple[float, int]:
        total, tokens = 0.0, 0
        for hidden, call, wanted in self._between(first, last):
            with torch.set_grad_enabled(learns):
                error = loss(call.replay(self.view.module, hidden), wanted)
            if learns:
                error.backward()
            total += float(error.detach())
            tokens += wanted.shape[:2].numel()
        return total, tokens

    def _between(self, first: int, last: int) -> Iterator[tuple[Tensor, Call, Tensor]]:
        """Inputs, other arguments and the dense model's outputs of the sequences from `first` to
        before `last`, per micro-batch."""
        sequences, start = self.view.sequences, 0
        dense = sequences.streams[DENSE]
        calls = sequences.calls(self.view.index)
        for i, ids in enumerate(sequences.batches):
            if first <= start < last:
                yield sequences.states[i], calls[i], dense[i]
            start += len(ids)


def per_process(reconstructor: BlockReconstructor, ranks: Ranks) -> int:
    """Sequences of a step in each process."""
    return max(1, reconstructor.batch // ranks.size)


def micro_batch(size: int, batch: int) -> int:
    """The most sequences per forward, up to `size`, that divide a batch."""
    return max(n for n in range(1, min(size, batch) + 1) if batch % n == 0)


@contextmanager
def trainable(block: nn.Module, linears: Sequence[Linear]) -> Iterator[None]:
    """In this context the weights of `linears` have gradients, and no other parameter does."""
    before = {p: p.requires_grad for p in block.parameters()}
    try:
        block.requires_grad_(False)
        for linear in linears:
            linear.parameter.requires_grad_()
        yield
    finally:
        block.zero_grad(set_to_none=True)
        for parameter, learns in before.items():
            parameter.requires_grad_(learns)
