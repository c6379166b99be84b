"""Interleaved repeats, medians and Markdown tables."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import median

import torch

from dsnot_exp.utils import accelerator


def interleaved(
    subjects: Mapping[str, Callable[[], object]],
    repeats: int,
    before: Callable[[], object] = lambda: None,
) -> dict[str, float]:
    """Median seconds by subject, of `rounds`."""
    return {name: median(all_) for name, all_ in rounds(subjects, repeats, before).items()}


def rounds(
    subjects: Mapping[str, Callable[[], object]],
    repeats: int,
    before: Callable[[], object] = lambda: None,
) -> dict[str, list[float]]:
    """Seconds by subject. Each round measures every subject once, so that a disturbance of the
    machine meets all of them; a first round is not counted. `before`: untimed, every time."""
    seconds: dict[str, list[float]] = {name: [] for name in subjects}
    for _ in range(repeats + 1):
        for name, run in subjects.items():
            before()
            finish()
            begin = time.perf_counter()
            run()
            finish()
            seconds[name].append(time.perf_counter() - begin)
    return {name: values[1:] for name, values in seconds.items()}


def short_calls(run: Callable[[], object], device: torch.device) -> list[float]:
    """Seconds per call of something short, five times: each is the mean of as many calls as take
    a twentieth of a second."""

    def calls(count: int) -> float:
        accelerator.wait(device)
        begin = time.perf_counter()
        for _ in range(count):
            run()
        accelerator.wait(device)
        return (time.perf_counter() - begin) / count

    calls(3)  # to warm up
    count = max(1, min(1000, round(0.05 / max(1e-7, calls(1)))))
    return [calls(count) for _ in range(5)]


def finish() -> None:
    """Wait until the accelerator of this machine, if any, has nothing left to do."""
    if (device := accelerator.present()) is not None:
        accelerator.wait(device)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Markdown; the first column is text, the others are numbers."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def machine(device: torch.device) -> str:
    """What the figures were measured on."""
    if accelerator.is_accelerator(device):
        return f"{accelerator.name(device)}, torch {torch.__version__}"
    return f"CPU, {torch.get_num_threads()} threads, torch {torch.__version__}"
