"""Waiting for events instead of for a clock."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
HALTING = Path(__file__).with_name("halting") / "sitecustomize.py"
BOUND = 300.0  # seconds; only a hanging test takes so long


def until(happened: Callable[[], object], process: subprocess.Popen[Any] | None = None) -> None:
    """Return once `happened()` is true. Fails if `process` has ended before, or after a generous
    bound."""
    deadline = time.monotonic() + BOUND
    while not happened():
        ended = process is not None and process.poll() is not None
        assert not ended or happened(), "the process ended before the event"
        assert time.monotonic() < deadline, "the event did not come"
        time.sleep(0.005)


def halt_at(path: str, count: int = 1) -> dict[str, str]:
    """The environment of a fork that stops for good once it has written its `count`-th file whose
    path ends with `path`."""
    return {"HALT_AT": f"{path}:{count}"}


def listens() -> None:
    """To Ctrl-C, also where the tests run in the background of a shell, which turns that off: what
    a process does before it starts (`preexec_fn`)."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
