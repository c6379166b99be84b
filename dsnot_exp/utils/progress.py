"""Progress of one phase of a run: a bar on a terminal, a few plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from dsnot_exp.utils.words import elapsed

PARTS = 10  # lines per phase
QUIET_S = 5  # no two lines within this time
SILENT_S = 600  # a line after this time, even if no further part is done
UNITS = {"prune": "block", "refine": "block", "finetune": "step"}


class Bars(Progress):
    """A bar per phase. On a narrow terminal the number of blocks and the time left stay."""

    def __init__(self, console: Console) -> None:
        self.screen = console
        super().__init__(console=console)

    def make_tasks_table(self, tasks: Iterable[Task]) -> Table:
        self.columns = tuple(columns(self.screen.width))  # the window may have changed its size
        return super().make_tasks_table(tasks)


def columns(width: int) -> list[ProgressColumn | str]:
    """What fits into `width` characters."""
    count = TextColumn("{task.completed:.0f}/{task.total:.0f}")
    name, left = TextColumn("{task.description:<10}"), [TimeRemainingColumn(), TextColumn("left")]
    if width < 60:
        return [name, count, *left]
    if width < 100:
        return [SpinnerColumn(), name, BarColumn(bar_width=12), count, *left]
    at = TextColumn("{task.fields[at]}")
    bar = BarColumn(bar_width=24)
    return [SpinnerColumn(), name, bar, count, TimeElapsedColumn(), *left, at]


class Bar:
    """One phase's bar among `bars`."""

    def __init__(self, bars: Bars, name: str, total: float, what: str) -> None:
        self.bars, self.what = bars, what
        self.task = bars.add_task(name, total=total, at=what)

    def expect(self, total: float) -> None:
        self.bars.update(self.task, total=total, completed=0)

    def at(self, what: str) -> None:
        self.bars.update(self.task, at=what)

    def advance(self, steps: float) -> None:
        self.bars.advance(self.task, steps)

    def end(self) -> None:
        self.at(self.what)


class Lines:
    """About ten lines for a phase: as it starts, after every tenth of it, and as it ends.

    say: prints a line; clock: seconds
    """

    def __init__(
        self, name: str, total: float, what: str, say: Callable[[str], None],
        clock: Callable[[], float],
    ) -> None:  # fmt: skip
        self.name, self.what, self.say, self.clock = name, what, say, clock
        self.unit = UNITS.get(name)
        self.begin = self.last = clock()
        self.total, self.done, self.part = total, 0.0, 0
        self._print(f"{total:.0f} {self.unit}s" if self.unit else "")

    def expect(self, total: float) -> None:
        """Start again, with `total` steps."""
        self.total, self.done, self.part = total, 0.0, 0
        self.begin = self.clock()

    def at(self, what: str) -> None:
        """The current item stands in the log alone."""

    def advance(self, steps: float) -> None:
        self.done += steps
        now, part = self.clock(), int(PARTS * self.done / max(1, self.total))
        due = part > self.part and now - self.last >= QUIET_S
        if self.done < self.total and (due or now - self.last >= SILENT_S):
            self.part, self.last = part, now
            left = (now - self.begin) / self.done * (self.total - self.done)
            self._print(f"{self._share()}, {elapsed(left)} left")

    def end(self) -> None:
        """Say how long it took, unless that was no time."""
        taken = self.clock() - self.begin
        if taken >= QUIET_S:
            self._print(f"done in {elapsed(taken)}")

    def _share(self) -> str:
        if self.unit:
            return f"{self.unit} {self.done:.0f} of {self.total:.0f}"
        return f"{100 * self.done / self.total:.0f} %"

    def _print(self, text: str) -> None:
        self.say(f"{self.name:<9} {', '.join(part for part in (self.what, text) if part)}")
