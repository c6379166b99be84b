"""Seconds per phase, and per layer where they are the layer's own."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from dsnot_exp.utils import accelerator

OF_LAYERS = ("prune", "refine", "reconstruct")


@dataclass
class Seconds:
    """On a GPU, a phase ends when the GPU is idle.

    layers: of pruning, refining and reconstructing it, without the collecting of statistics, which
        layers share
    """

    device: torch.device
    phases: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    layers: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    layer: str = ""

    def at(self, layer: str) -> None:
        self.layer = layer

    @contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        begin = time.perf_counter()
        try:
            yield
        finally:
            accelerator.wait(self.device)
            took = time.perf_counter() - begin
            self.phases[phase] += took
            if phase in OF_LAYERS:
                self.layers[self.layer] += took
