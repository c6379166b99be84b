"""Seconds per phase and peak memory of a run."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from dsnot_exp.utils import accelerator

PHASES = (
    "load", "allocate", "calibrate", "prune", "refine", "reconstruct", "keep", "finetune",
    "evaluate",
)  # fmt: skip


class Clock:
    """Adds up wall-clock seconds per phase. On a GPU, a phase ends when the GPU is idle.

    resumed: how many times the run was resumed; seconds include those of the earlier processes
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.start = time.perf_counter()
        self.seconds = dict.fromkeys(PHASES, 0.0)
        self.resumed = 0
        self._open: list[tuple[str, float]] = []  # phases under way, and when each began
        self._peaks = {"peak_rss_bytes": 0, "peak_device_bytes": 0}
        accelerator.forget_peak(device)
        with suppress(OSError):  # Linux: forgets the peak of the sweep's earlier runs
            Path("/proc/self/clear_refs").write_text("5")

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        begin = time.perf_counter()
        self._open.append((phase, begin))
        try:
            yield
        finally:
            accelerator.wait(self.device)
            self._open.remove((phase, begin))
            self.seconds[phase] += time.perf_counter() - begin

    def timing(self) -> dict[str, float]:
        """Seconds so far, those of phases under way included."""
        now, seconds = time.perf_counter(), dict(self.seconds)
        for phase, begin in list(self._open):
            seconds[phase] += now - begin
        return {k: round(v, 3) for k, v in {**seconds, "total": now - self.start}.items()}

    def memory(self) -> dict[str, int]:
        unit = 1 if sys.platform == "darwin" else 1024  # getrusage counts KiB on Linux
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
        on_device = accelerator.peak_memory(self.device)
        now = {"peak_rss_bytes": peak, "peak_device_bytes": on_device}
        return {name: max(size, self._peaks[name]) for name, size in now.items()}

    def account(self) -> dict[str, Any]:
        """Seconds, memory and restarts so far; a resumed process passes them to `add_earlier`."""
        return {"timing_s": self.timing(), "memory": self.memory(), "resumed": self.resumed}

    def add_earlier(self, account: dict[str, Any]) -> None:
        """Add the `account` of an earlier process of the same run."""
        earlier = dict(account["timing_s"])
        self.start -= earlier.pop("total")
        for phase, seconds in earlier.items():
            self.seconds[phase] += seconds
        self._peaks = account["memory"]
        self.resumed = account["resumed"] + 1
