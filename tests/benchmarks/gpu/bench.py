"""What every subject is given: the device, the sizes, the rates of the card, and the time left."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from dsnot_exp.utils import accelerator
from tests.benchmarks.gpu.sizes import Sizes
from tests.benchmarks.gpu.work import Rates, Work

Row = dict[str, Any]  # one figure with its parameters: plain data


class OutOfTime(Exception):
    """The time was over before a subject had a figure. The message says how far it came."""


class Refused(Exception):
    """What a subject measures is not possible here. The message says why."""


@dataclass
class Bench:
    """scratch: a folder for a checkpoint; deadline: by time.perf_counter
    dtype: of the models; authors: a checkout of github zyxxmu/DSnoT
    sequences: of calibration, once the rates of the card are known
    slower: how many times longer than forecast a pass took, at worst
    reserved: seconds that the subjects to come will take
    """

    device: torch.device
    sizes: Sizes
    scratch: Path
    deadline: float
    dtype: str = "bfloat16"
    sparsity: float = 0.6
    max_cycles: int = 50
    authors: str | None = None
    sequences: int = 0
    rates: Rates = field(default_factory=Rates)
    slower: float = 1.0
    reserved: float = 0.0

    @property
    def tokens(self) -> int:
        return self.sizes.tokens

    @property
    def on_accelerator(self) -> bool:
        return accelerator.is_accelerator(self.device)

    @property
    def left(self) -> float:
        """Seconds."""
        return self.deadline - time.perf_counter()

    def forecast(self, work: Work) -> float:
        """Seconds."""
        return self.slower * work.on(self.rates)

    def learn(self, forecast: float, seconds: float) -> None:
        """Later forecasts are as much too low as this one, or as an earlier one, was."""
        self.slower = min(10.0, max(self.slower, seconds / max(1.0, forecast)))

    def spares(self, seconds: float) -> bool:
        """Whether there is time for a repeat."""
        return self.left - self.reserved > seconds


@dataclass(frozen=True)
class Subject:
    """Figures that are measured together.

    name: group/what; run: its rows, one per figure; work: of one pass, to forecast its time
    essential: the number of calibration sequences is such that there is time for it
    """

    name: str
    run: Callable[[Bench], list[Row]]
    work: Callable[[Bench], Work] = lambda bench: Work(seconds=3)
    essential: bool = False

    @property
    def group(self) -> str:
        return self.name.split("/")[0]
