"""Interleaved repeats, medians and Markdown tables."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from statistics import median

import torch


def interleaved(
    subjects: dict[str, Callable[[], object]],
    repeats: int,
    before: Callable[[], object] = lambda: None,
) -> dict[str, float]:
    """Median seconds by subject, of `rounds`."""
    return {name: median(all_) for name, all_ in rounds(subjects, repeats, before).items()}


def rounds(
    subjects: dict[str, Callable[[], object]],
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


def finish() -> None:
    """Wait until the GPU has nothing left to do."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Markdown; the first column is text, the others are numbers."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def machine(device: torch.device) -> str:
    """What the figures were measured on."""
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}"
    return f"CPU, {torch.get_num_threads()} threads, torch {torch.__version__}"
