"""Prints a run's progress bars and lines, and copies them to the log."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from dsnot_exp.utils.distributed import rank_suffix

log = logging.getLogger(__name__)
console = Console(soft_wrap=True, highlight=False, quiet=bool(rank_suffix()))


class Display:
    """A progress bar per phase of a run; every step is also logged."""

    def __init__(self) -> None:
        self.progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description:<10}"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[at]}"),
            console=console,
            transient=not console.is_terminal,
        )
        self.task: TaskID | None = None

    def __enter__(self) -> Display:
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    @contextmanager
    def phase(self, name: str, total: int, what: str = "") -> Iterator[Display]:
        """Show a progress bar with `total` steps; it ends with the label `what`."""
        log.info("%s %s: %d steps", name, what, total)
        before, self.task = self.task, self.progress.add_task(name, total=total, at=what)
        try:
            yield self
            self.progress.update(self.task, at=what)
        finally:
            self.task = before

    def expect(self, total: int) -> None:
        """Restart the bar of the current phase with `total` steps."""
        if self.task is not None:
            self.progress.update(self.task, total=total, completed=0)

    def at(self, what: str) -> None:
        """Show and log the current item, such as a layer."""
        log.info("%s", what)
        if self.task is not None:
            self.progress.update(self.task, at=what)

    def advance(self, steps: float = 1) -> None:
        if self.task is not None:
            self.progress.advance(self.task, steps)


def say(line: str) -> None:
    """Print and log a line."""
    log.info("%s", line)
    console.print(line, markup=False)
