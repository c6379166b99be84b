"""Saves a walk to disk after every block, so that a killed run can resume.

    <state>/walk.json                       the identity of the walk
    <state>/model/model-00003-of-00033...   the sparse weights of block 2
    <state>/masks/00002.safetensors         its masks, packed
    <state>/states/00002.safetensors        the hidden states after it, until the next is saved
    <state>/00002.json                      its records and the digests of these files: written last

Files are written in the background, fsynced, and renamed when complete; a block counts as finished
once its JSON exists. Digests are checked on reading. If the hidden states are damaged or missing,
one forward through each finished block recomputes them. A dense stream cannot be recomputed from
the sparse blocks, so that such a walk starts over.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from dsnot_exp.models.placement import Placed
from dsnot_exp.models.shards import Shards, write_shard
from dsnot_exp.utils.accelerator import is_accelerator
from dsnot_exp.utils.distributed import ALONE, Ranks
from dsnot_exp.utils.files import writing_state
from dsnot_exp.walk.finished_block import FinishedBlock
from dsnot_exp.walk.journal_files import JournalFiles
from dsnot_exp.walk.record import Solved
from dsnot_exp.walk.sequences import Sequences
from dsnot_exp.walk.view import BlockView


@dataclass
class Journal:
    """identity: everything the walk depends on; a journal with another identity is deleted
    ranks: the processes of the walk. The first one writes; their hidden states are not saved but
        recomputed
    has_dense: the walk has a dense stream besides the sparse one
    on_note: receives a line for each file that could not be used
    on_keep: called in the background before a block's JSON is written
    solved: the blocks found on disk
    """

    folder: Path
    identity: str
    placed: Placed
    ranks: Ranks = ALONE
    on_note: Callable[[str], None] = lambda note: None
    on_keep: Callable[[], None] = lambda: None
    has_dense: bool = False
    finished: int = 0
    solved: list[Solved] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.count = len(self.placed.blocks[1])
        self.files = JournalFiles(self.folder, self.count, self.on_note)
        self._writer = ThreadPoolExecutor(1, "write")
        self._writing: tuple[int, Future[None] | None] | None = None

    def open(self) -> None:
        """Find the finished blocks and load them into the model."""
        if self.ranks.first:
            self.files.begin(self.identity)
            if not self.has_dense or self._can_continue():
                self._find(self.count)
        finished = self.ranks.of_first(self.finished)
        if not self.ranks.first:
            self._find(finished)

    def _can_continue(self) -> bool:
        """Whether the hidden states after the last finished block are there. Looked at before any
        block is restored, because starting over takes the dense weights."""
        finished = [
            entry
            for entry in itertools.takewhile(bool, map(self.files.intact, range(self.count)))
            if entry is not None
        ]
        if len(finished) in (0, self.count):
            return True
        start = "the first block: its dense hidden states cannot be recomputed"
        if self.ranks.size > 1:
            self.on_note(f"{self.folder}: several processes keep no hidden states; back to {start}")
            return False
        return self.files.whole(self.files.states(len(finished) - 1), finished[-1].states, start)

    def _find(self, most: int) -> None:
        while self.finished < most and self._restore(self.finished):
            self.finished += 1

    def recall(self, sequences: Sequences) -> bool:
        if self.finished == 0:
            return True
        if self.ranks.size > 1:
            return False
        path = self.files.states(self.finished - 1)
        entry = FinishedBlock.read(self.files.entry(self.finished - 1))
        if entry.batch < sequences.size:
            sequences.split(entry.batch)
        if not self.files.whole(
            path, entry.states, "the first block, to recompute the hidden states"
        ):
            return False
        shards = Shards([path])
        for stream, states in sequences.streams.items():
            names = sorted(name for name in shards.entries if name.startswith(stream))
            saved = (shards.read([name])[name] for name in names)
            rows = (row for batch in saved for row in batch.split(1))
            for i, ids in enumerate(sequences.batches):  # their sizes may differ from the saved
                states[i] = torch.cat(list(itertools.islice(rows, len(ids))))
        return True

    def keep(self, view: BlockView, solved: Solved) -> None:
        self.settle()
        if not self.ranks.first:
            self._writing = view.index, None
            return
        tensors = self.placed.tensors(view.index, view.module)
        if is_accelerator(self.placed.device):
            tensors = {name: tensor.cpu() for name, tensor in tensors.items()}
        # Nothing comes after the last block; several processes recompute theirs.
        kept = self.ranks.size == 1 and view.index < self.count - 1
        streams, size = view.sequences.streams if kept else {}, view.sequences.size
        states = {stream: states.snapshot() for stream, states in streams.items()}
        job = self._writer.submit(self._write, view.index, tensors, solved, states, size)
        self._writing = view.index, job

    def settle(self) -> None:
        if self._writing is None:
            return
        (index, job), self._writing = self._writing, None
        if job is not None:
            with writing_state(self.folder):
                job.result()
        self.ranks.wait()
        self.placed.wrote(index, self.files.weights(index))
        self.finished = index + 1

    def _write(
        self,
        index: int,
        tensors: dict[str, Tensor],
        solved: Solved,
        states: Mapping[str, Iterable[Tensor]],
        size: int,
    ) -> None:
        weights = write_shard(self.files.weights(index), tensors)
        masks = write_shard(self.files.masks(index), solved.masks)
        named = {
            f"{stream}.{i:06d}": batch
            for stream, batches in states.items()
            for i, batch in enumerate(batches)
        }
        kept = write_shard(self.files.states(index), named)
        entry = FinishedBlock(
            weights, masks, kept, size, solved.records, solved.notes, solved.choice, solved.fit,
            solved.moved,
        )  # fmt: skip
        self.on_keep()
        entry.write(self.files.entry(index))
        if index:
            self.files.states(index - 1).unlink(missing_ok=True)

    def _restore(self, index: int) -> bool:
        """Load block `index` into the model; False if it is not complete on disk."""
        entry = self.files.intact(index)
        if entry is None:
            return False
        masks = Shards([self.files.masks(index)])
        bits = masks.read(masks.entries)
        told = entry.records, entry.notes, bits, entry.choice, entry.fit, entry.moved
        self.solved.append(Solved(*told))
        self.placed.restore(index, self.files.weights(index))
        return True
