"""Writes a sparse model to disk while the walk makes it; see kept.py for the files.

The folder is written aside (utils/folders.py): a reader finds a whole sparse model, or none. A disk
that is full costs the kept model, and not the run.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from dsnot_exp.models.linears import owned
from dsnot_exp.models.masks import FOLDER, mask_name
from dsnot_exp.models.packed import pack
from dsnot_exp.models.placement import Placed
from dsnot_exp.models.shards import write_shard
from dsnot_exp.utils.folders import begin_aside, put_back, take_place
from dsnot_exp.walk.kept import BITS, VALUES, WEIGHTS, KeptSparse, file_name
from dsnot_exp.walk.record import Solved
from dsnot_exp.walk.sparsified import Sparsified

NEW = "new-"  # in the name of a folder that is being written


class SparseKeeper:
    """folder: where the sparse model is kept at the end
    on_note: receives a line if it cannot be kept
    failed: it cannot be kept
    """

    def __init__(
        self, folder: Path, key: dict[str, Any], on_note: Callable[[str], None] = lambda note: None
    ) -> None:
        self.folder, self.key, self.on_note = folder, key, on_note
        self.failed = False
        self._files: dict[str, str] = {}
        self._temporary = folder
        self._try(self._begin)

    def add(self, solved: Solved) -> None:
        """Keep the masks of a block. Blocks are added in the order of the walk."""
        self._try(lambda: self._write(FOLDER, len(self._files), solved.masks))

    def finish(
        self, placed: Placed, sparse: Sparsified, weights: bool, **known: Any
    ) -> KeptSparse | None:
        """Make what was kept visible; None if it cannot be kept.

        weights: keep the weights that a method moved too, as they are in the model
        """
        about = {**sparse.as_plain(), **known, "files": self._files}

        def complete() -> None:
            if weights and sparse.moved:
                self._weights(placed, set(sparse.moved))
            KeptSparse(self._temporary, self.key, about).write()
            take_place(self._temporary, self.folder, NEW)
            self._temporary = self.folder

        self._try(complete)
        return None if self.failed else KeptSparse(self.folder, self.key, about)

    def abandon(self) -> None:
        """Remove what was written, unless it is complete."""
        if self._temporary != self.folder:
            shutil.rmtree(self._temporary, ignore_errors=True)

    def _begin(self) -> None:
        self._temporary = begin_aside(self.folder, NEW)
        (self._temporary / FOLDER).mkdir()

    def _write(self, part: str, index: int, tensors: dict[str, Any]) -> None:
        name = f"{part}/{file_name(index)}"
        self._files[name] = write_shard(self._temporary / name, tensors)

    def _weights(self, placed: Placed, moved: set[str]) -> None:
        (self._temporary / WEIGHTS).mkdir()
        name, blocks = placed.blocks
        for index, own in enumerate(owned(blocks, placed.dense)):
            tensors = {}
            with placed.fetch(blocks[index]):
                for layer, linear in own.items():
                    full = f"{name}.{index}.{layer}"
                    if full in moved:
                        packed, named = pack(linear.weight.cpu()), mask_name(full, linear.weight)
                        tensors[named + BITS], tensors[named + VALUES] = packed.bits, packed.values
            self._write(WEIGHTS, index, tensors)

    def _try(self, write: Callable[[], None]) -> None:
        if self.failed:
            return
        try:
            write()
        except OSError as error:
            self.failed = True
            where, why = error.filename or self.folder, error.strerror or error
            self.on_note(f"{where}: the sparse model cannot be kept ({why}); the run goes on")
            with suppress(OSError):
                self.abandon()


def recover(folder: Path) -> None:
    """Put back an older sparse model whose replacement was interrupted between two renames."""
    with suppress(OSError):
        put_back(folder, NEW)
