"""The batches that a perplexity has finished, on disk, so that an interrupted one resumes.

The resumed value equals the uninterrupted one to the bit: the sums are those of the same batches,
added in the same order.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dsnot_exp.utils.files import read_sealed, write_sealed

log = logging.getLogger(__name__)

EVERY_S = 10.0  # seconds between two writes: the most work that is lost
Batch = tuple[float, int]  # the sum of its sequences' losses, and their number


@dataclass
class Unfinished:
    """One file per measurement and process.

    path: None keeps nothing
    identity: everything that the batches depend on; a file with another identity is ignored
    on_keep: called before the file is written
    """

    path: Path | None = None
    identity: str = ""
    on_keep: Callable[[], None] = lambda: None

    def __post_init__(self) -> None:
        self.last = time.monotonic()

    def read(self, most: int) -> list[Batch]:
        """The finished batches of a share of `most` sequences; empty if there are none."""
        if self.path is None:
            return []
        try:
            rows = read_sealed(self.path, self.identity) or []
            found = [(float(total), int(count)) for total, count in rows]
        except (TypeError, ValueError):
            found = []
        fits = all(count > 0 for _, count in found) and sum(n for _, n in found) <= most
        return found if fits else []

    def keep(self, batches: Sequence[Batch]) -> None:
        """Write the batches, unless that was done just now. A full disk costs the file only."""
        if self.path is None or time.monotonic() - self.last < EVERY_S:
            return
        self.on_keep()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_sealed(self.path, self.identity, batches)
        except OSError as error:
            log.warning("cannot write %s (%s)", self.path, error)
        self.last = time.monotonic()

    def clear(self) -> None:
        """Delete the file: the measurement is finished."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)


NOTHING = Unfinished()
