"""Progress in a pipe and on a terminal, with a clock that the test sets."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass, field

import pytest
from rich.console import Console

from dsnot_exp.utils import console as our_console
from dsnot_exp.utils.console import Display
from dsnot_exp.utils.progress import Bars, Lines
from dsnot_exp.utils.words import elapsed


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Phase:
    """One phase, and the lines that it has printed."""

    name: str
    total: int
    what: str = ""
    clock: Clock = field(default_factory=Clock)
    printed: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.lines = Lines(self.name, self.total, self.what, self.printed.append, self.clock)

    def run(self, seconds: float) -> list[str]:
        """All steps, each of which takes `seconds`; returns the printed lines."""
        for _ in range(int(self.lines.total - self.lines.done)):
            self.clock.now += seconds
            self.lines.advance(1)
        self.lines.end()
        return self.printed


def test_a_phase_of_80_blocks_has_about_ten_lines_with_block_and_time_left() -> None:
    printed = Phase("refine", 80).run(seconds=30)
    assert printed[0] == "refine    80 blocks"
    assert printed[1] == "refine    block 8 of 80, 36 min 0 s left"
    assert printed[-2] == "refine    block 72 of 80, 4 min 0 s left"
    assert printed[-1] == "refine    done in 40 min 0 s"
    assert len(printed) == 11


def test_a_short_phase_has_one_line() -> None:
    assert Phase("refine", 80).run(seconds=0.01) == ["refine    80 blocks"]


def test_slow_blocks_have_a_line_every_ten_minutes() -> None:
    printed = Phase("prune", 100).run(seconds=700)
    assert printed[1] == "prune     block 1 of 100, 19 h 15 min left"
    assert len(printed) == 101


def test_other_phases_show_their_share_and_what_is_measured() -> None:
    phase = Phase("perplexity", 1, "c4, dense")
    phase.lines.expect(200)
    printed = phase.run(seconds=1)
    assert printed[0] == "perplexity c4, dense"
    assert printed[1] == "perplexity c4, dense, 10 %, 3 min 0 s left"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (59.6, "1 min 0 s"), (3599, "59 min 59 s"), (5000, "1 h 23 min")],
)
def test_durations(seconds: float, words: str) -> None:
    assert elapsed(seconds) == words


def in_a_pipe(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    text = io.StringIO()
    monkeypatch.setattr(our_console, "console", Console(file=text, soft_wrap=True))
    return text


def test_in_a_pipe_a_sweep_says_which_job_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    text, clock = in_a_pipe(monkeypatch), Clock()
    monkeypatch.setenv(our_console.JOBS, "6")
    our_console.begin_job(2)
    with Display(clock) as display, display.phase("prune", 4) as phase:
        for _ in range(4):
            clock.now += 60
            phase.advance()
    our_console.begin_job(None)
    lines = text.getvalue().splitlines()
    assert lines[0] == "job 2 of 6: prune     4 blocks"
    assert lines[1] == "job 2 of 6: prune     block 1 of 4, 3 min 0 s left"
    assert "\x1b" not in text.getvalue()


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_a_terminal_of_any_width_shows_block_and_time_left(width: int) -> None:
    text = io.StringIO()
    bars = Bars(Console(file=text, width=width, force_terminal=True))
    task = bars.add_task("finetune", total=9999, at="model.layers.12.self_attn.q_proj")
    bars.advance(task, 1234)
    bars.console.print(bars.get_renderable())
    (line,) = re.sub(r"\x1b\[[\d;?]*\w", "", text.getvalue()).strip("\n").splitlines()
    assert len(line) <= width
    for part in ("finetune", "1234/9999", "-:--:-- left"):
        assert part in line
