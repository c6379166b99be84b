"""The files of a journal, see journal.py: their places, and whether they are what was written."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dsnot_exp.models.shards import digest, shard_name
from dsnot_exp.utils.files import read_sealed, write_sealed, writing_state
from dsnot_exp.walk.finished_block import FinishedBlock


@dataclass(frozen=True)
class JournalFiles:
    """count: blocks of the model; on_note: receives a line for each file that cannot be used"""

    folder: Path
    count: int
    on_note: Callable[[str], None]

    def begin(self, identity: str) -> None:
        """Delete the files of a walk with another identity."""
        about = self.folder / "walk.json"
        if read_sealed(about, identity) is None:
            shutil.rmtree(self.folder, ignore_errors=True)
        with writing_state(self.folder):
            for part in ("model", "masks", "states"):
                (self.folder / part).mkdir(parents=True, exist_ok=True)
            write_sealed(about, identity, {"blocks": self.count})

    def intact(self, index: int) -> FinishedBlock | None:
        """Block `index` as it is on disk; None if it is not complete."""
        path = self.entry(index)
        if not path.exists():
            return None
        try:
            entry = FinishedBlock.read(path)
        except (OSError, ValueError, TypeError) as error:
            self.on_note(f"{path}: damaged ({error}); continuing from block {index}")
            return None
        told = {self.weights(index): entry.weights, self.masks(index): entry.masks}
        whole = all(self.whole(file, seal, f"block {index}") for file, seal in told.items())
        return entry if whole else None

    def whole(self, path: Path, expected: str, where: str) -> bool:
        """Whether a file has this digest. `where`: the walk continues if it has not."""
        try:
            if digest(path) == expected:
                return True
            why = "its bytes are not those that were written"
        except OSError as error:
            why = str(error.strerror)
        self.on_note(f"{path}: damaged ({why}); continuing from {where}")
        return False

    def entry(self, index: int) -> Path:
        return self.folder / f"{index:05d}.json"

    def weights(self, index: int) -> Path:
        return self.folder / "model" / shard_name(index, self.count)

    def masks(self, index: int) -> Path:
        return self.folder / "masks" / f"{index:05d}.safetensors"

    def states(self, index: int) -> Path:
        return self.folder / "states" / f"{index:05d}.safetensors"
