"""The time that a model needs per generated token, beside that of another model."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor
from transformers import StoppingCriteria, StoppingCriteriaList

from dsnot_exp.utils import accelerator

WARM_UP = 2  # generations of each model that do not count
PAIRS = 7
NEW = 24  # tokens
NOTICED = 0.05  # a smaller difference is what two measurements of one model show, too


@dataclass(frozen=True)
class Speed:
    """Seconds per token, each the median over the pairs. Both models generated in turn, so that
    what else the machine does meets both.

    ratio: the median of sparse / dense within a pair; spread: the smallest and the largest of them
    """

    dense: float
    sparse: float
    ratio: float
    spread: tuple[float, float]

    @property
    def same(self) -> bool:
        low, high = self.spread
        return abs(self.ratio - 1) < NOTICED or low <= 1 <= high


class _Clock(StoppingCriteria):
    """Notes the time after every token, and never stops the generation."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def __call__(self, input_ids: Tensor, scores: Any, **_: Any) -> Tensor:
        accelerator.wait(input_ids.device)
        self.times.append(time.perf_counter())
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)


def seconds_per_token(model: Any, prompt: Tensor, new: int = NEW) -> float:
    """The median over the generated tokens but the first, which reads the prompt.

    prompt: (1, length) on the model's device
    """
    clock = _Clock()
    with torch.inference_mode():
        model.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            min_new_tokens=new,
            max_new_tokens=new,
            do_sample=False,
            stopping_criteria=StoppingCriteriaList([clock]),
        )
    steps = [after - before for before, after in zip(clock.times, clock.times[1:], strict=False)]
    return median(steps)


def compare(
    dense: Any,
    sparse: Any,
    prompt: Tensor,
    *,
    pairs: int = PAIRS,
    measured: Callable[[Any, Tensor], float] = seconds_per_token,
) -> Speed:
    """prompt: (1, length), on the device of both models. In every other pair the sparse model is
    the first."""
    for _ in range(WARM_UP):
        measured(dense, prompt)
        measured(sparse, prompt)
    found = []
    for index in range(pairs):
        if index % 2:
            late = measured(sparse, prompt)
            found.append((measured(dense, prompt), late))
        else:
            found.append((measured(dense, prompt), measured(sparse, prompt)))
    ratios = [after / before for before, after in found]
    return Speed(
        dense=median(before for before, _ in found),
        sparse=median(after for _, after in found),
        ratio=median(ratios),
        spread=(min(ratios), max(ratios)),
    )
