"""Waiting for events instead of for a clock."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
BOUND = 300.0  # seconds; only a hanging test takes so long


def until(happened: Callable[[], object], process: subprocess.Popen[Any] | None = None) -> None:
    """Return once `happened()` is true, or `process` has ended. Fails after a generous bound."""
    deadline = time.monotonic() + BOUND
    while not happened() and (process is None or process.poll() is None):
        assert time.monotonic() < deadline, "the event did not come"
        time.sleep(0.005)


def halting(name: str, count: int = 1) -> dict[str, str]:
    """The environment of a process that stops for good once it has written its `count`-th file
    called `name`; it can import the package."""
    path = os.pathsep.join([str(Path(__file__).with_name("halting")), str(ROOT)])
    return {"PYTHONPATH": path, "HALT_AT": f"{name}:{count}"}
