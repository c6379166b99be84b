"""Saves a walk to disk after every block, so that a killed run can resume.

    <state>/walk.json                       the identity of the walk
    <state>/model/model-00003-of-00033...   the sparse weights of block 2
    <state>/masks/00002.safetensors         its masks, packed
    <state>/states/00002.safetensors        the hidden states after it, until the next is saved
    <state>/00002.json                      its records and the digests of these files: written last

Files are written in the background, fsynced, and renamed when complete; a block counts as finished
once its JSON exists. Digests are checked on reading. If the hidden states are damaged or missing,
one forward through each finished block recomputes them.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from dsnot_exp.models.placement import Placed
from dsnot_exp.models.shards import Shards, digest, shard_name, write_shard
from dsnot_exp.utils.distributed import ALONE, Ranks
from dsnot_exp.utils.files import read_sealed, write_sealed, writing_state
from dsnot_exp.walk.finished_block import FinishedBlock
from dsnot_exp.walk.record import Solved
from dsnot_exp.walk.sequences import Sequences
from dsnot_exp.walk.view import BlockView


@dataclass
class Journal:
    """identity: everything the walk depends on; a journal with another identity is deleted
    ranks: the processes of the walk. The first one writes; their hidden states are not saved but
        recomputed
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
    finished: int = 0
    solved: list[Solved] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.count = len(self.placed.blocks[1])
        self._writer = ThreadPoolExecutor(1, "write")
        self._writing: tuple[int, Future[None] | None] | None = None

    def open(self) -> None:
        """Find the finished blocks and load them into the model."""
        if self.ranks.first:
            self._begin()
            self._find(self.count)
        finished = self.ranks.of_first(self.finished)
        if not self.ranks.first:
            self._find(finished)

    def _begin(self) -> None:
        about = self.folder / "walk.json"
        if read_sealed(about, self.identity) is None:
            shutil.rmtree(self.folder, ignore_errors=True)
        with writing_state(self.folder):
            for part in ("model", "masks", "states"):
                (self.folder / part).mkdir(parents=True, exist_ok=True)
            write_sealed(about, self.identity, {"blocks": self.count})

    def _find(self, most: int) -> None:
        while self.finished < most and self._restore(self.finished):
            self.finished += 1

    def recall(self, sequences: Sequences) -> bool:
        if self.finished == 0:
            return True
        if self.ranks.size > 1:
            return False
        path = self._states(self.finished - 1)
        entry = FinishedBlock.read(self._entry(self.finished - 1))
        if entry.batch < sequences.size:
            sequences.split(entry.batch)
        if not self._whole(path, entry.states, "the first block, to recompute the hidden states"):
            return False
        shards = Shards([path])
        saved = (shards.read([name])[name] for name in sorted(shards.entries))
        rows = (row for batch in saved for row in batch.split(1))
        for i, ids in enumerate(sequences.batches):  # their sizes may differ from the saved ones
            sequences.states[i] = torch.cat(list(islice(rows, len(ids))))
        return True

    def keep(self, view: BlockView, solved: Solved) -> None:
        self.settle()
        if not self.ranks.first:
            self._writing = view.index, None
            return
        tensors = self.placed.tensors(view.index, view.module)
        if self.placed.device.type != "cpu":
            tensors = {name: tensor.cpu() for name, tensor in tensors.items()}
        # Nothing comes after the last block; several processes recompute theirs.
        kept = self.ranks.size == 1 and view.index < self.count - 1
        states, size = view.sequences.states.snapshot() if kept else (), view.sequences.size
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
        self.placed.wrote(index, self._weights(index))
        self.finished = index + 1

    def _write(
        self,
        index: int,
        tensors: dict[str, Tensor],
        solved: Solved,
        states: Iterable[Tensor],
        size: int,
    ) -> None:
        weights = write_shard(self._weights(index), tensors)
        masks = write_shard(self._masks(index), solved.masks)
        named_states = {f"{i:06d}": batch for i, batch in enumerate(states)}
        kept = write_shard(self._states(index), named_states)
        entry = FinishedBlock(
            weights, masks, kept, size, solved.records, solved.notes, solved.choice
        )
        self.on_keep()
        entry.write(self._entry(index))
        if index:
            self._states(index - 1).unlink(missing_ok=True)

    def _restore(self, index: int) -> bool:
        """Load block `index` into the model; False if it is not complete on disk."""
        path = self._entry(index)
        if not path.exists():
            return False
        try:
            entry = FinishedBlock.read(path)
        except (OSError, ValueError, TypeError) as error:
            self.on_note(f"{path}: damaged ({error}); continuing from block {index}")
            return False
        told = {self._weights(index): entry.weights, self._masks(index): entry.masks}
        if not all(self._whole(file, seal, f"block {index}") for file, seal in told.items()):
            return False
        masks = Shards([self._masks(index)])
        bits = masks.read(masks.entries)
        self.solved.append(Solved(entry.records, entry.notes, bits, entry.choice))
        self.placed.restore(index, self._weights(index))
        return True

    def _whole(self, path: Path, expected: str, where: str) -> bool:
        try:
            if digest(path) == expected:
                return True
            why = "its bytes are not those that were written"
        except OSError as error:
            why = str(error.strerror)
        self.on_note(f"{path}: damaged ({why}); continuing from {where}")
        return False

    def _entry(self, index: int) -> Path:
        return self.folder / f"{index:05d}.json"

    def _weights(self, index: int) -> Path:
        return self.folder / "model" / shard_name(index, self.count)

    def _masks(self, index: int) -> Path:
        return self.folder / "masks" / f"{index:05d}.safetensors"

    def _states(self, index: int) -> Path:
        return self.folder / "states" / f"{index:05d}.safetensors"
