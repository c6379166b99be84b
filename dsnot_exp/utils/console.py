"""Prints a run's progress and lines, and copies them to the log."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console

from dsnot_exp.utils.progress import Bar, Bars, Lines
from dsnot_exp.utils.torchrun import rank_suffix

log = logging.getLogger(__name__)
console = Console(soft_wrap=True, highlight=False, quiet=bool(rank_suffix()))
JOBS = "DSNOT_EXP_JOBS"  # number of jobs of a sweep, for the processes of its launcher
_job: list[str] = []  # "job 2 of 6", in a sweep


class Display:
    """The progress of a run's phases; every step is also logged. On a terminal each phase has a
    bar; in a pipe, a log file or a notebook it has about ten lines.

    clock: seconds
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        live = console.is_terminal and console.is_interactive and not console.is_jupyter
        self.bars = Bars(console) if live else None
        self.shown: Bar | Lines | None = None  # of the present phase

    def __enter__(self) -> Display:
        if self.bars is not None:
            self.bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.bars is not None:
            self.bars.stop()

    @contextmanager
    def phase(self, name: str, total: int, what: str = "") -> Iterator[Display]:
        """Show the progress of `total` steps. `what`: a label, such as the data set."""
        log.info("%s %s: %d steps", name, what, total)
        before = self.shown
        if self.bars is not None:
            shown: Bar | Lines = Bar(self.bars, name, total, what)
        else:
            shown = Lines(name, total, what, _say_in_job, self.clock)
        self.shown = shown
        try:
            yield self
            shown.end()
        finally:
            self.shown = before

    def expect(self, total: int) -> None:
        """Restart the current phase with `total` steps."""
        if self.shown is not None:
            self.shown.expect(total)

    def at(self, what: str) -> None:
        """Show and log the current item, such as a layer."""
        log.info("%s", what)
        if self.shown is not None:
            self.shown.at(what)

    def advance(self, steps: float = 1) -> None:
        if self.shown is not None:
            self.shown.advance(steps)


def begin_job(number: int | None) -> None:
    """Start the output of a run. number: of the job in its sweep, from 1; None: no sweep"""
    count = f" of {os.environ[JOBS]}" if JOBS in os.environ else ""
    _job[:] = [] if number is None else [f"job {number}{count}"]


def say_log() -> None:
    """Print the path of the log file."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.FileHandler):
            _say_in_job(f"log       {handler.baseFilename}")


def say(line: str) -> None:
    """Print and log a line."""
    log.info("%s", line)
    console.print(line, markup=False)


def _say_in_job(line: str) -> None:
    say(": ".join([*_job, line]))
