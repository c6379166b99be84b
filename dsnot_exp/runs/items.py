"""What `clean` would delete, and what it leaves alone."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

from dsnot_exp.run.in_use import is_taken
from dsnot_exp.run.lock import NAME as LOCK
from dsnot_exp.runs.files import newest
from dsnot_exp.runs.find import Found, look
from dsnot_exp.utils.files import bytes_of

TRASH = ".removed-"
STARTING = 60  # seconds: a run that has only a log may not have come to its lock


@dataclass(frozen=True)
class Item:
    """path: what to delete; why; run: the run in whose folder it is, None if in a shared folder;
    lock: the file to lock meanwhile"""

    path: Path
    why: str
    run: Found | None = None
    shared_lock: Path | None = None

    @property
    def lock(self) -> Path | None:
        return self.run.folder / LOCK if self.run is not None else self.shared_lock

    def unchanged(self) -> bool:
        """Whether nobody has used it since it was shown. Call it with the lock held."""
        if self.run is None:
            old = time.time() - newest(self.path) > STARTING or self.path.name.startswith(TRASH)
            return not is_taken(self.path) and (old or self.path.is_file())
        was, now = self.run, look(self.run.folder, self.run.folder, ours=True)
        whole = self.path == was.folder  # else other parts of it may be gone by now
        return (now.state, now.date) == (was.state, was.date) and (
            not whole or now.resumable == was.resumable
        )

    @property
    def size(self) -> int:
        return bytes_of(self.path)


@dataclass
class Plan:
    """items: what to delete; left: what looks like it and stays, with the reason"""

    items: list[Item] = field(default_factory=list)
    left: list[tuple[Path, str]] = field(default_factory=list)
