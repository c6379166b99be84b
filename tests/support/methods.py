"""Methods that the tests of the walk share."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from dsnot_exp.methods.patterns import Pattern
from dsnot_exp.methods.protocols import Initial, Needs, Refined, Rows
from dsnot_exp.methods.statistics import InputStatistics
from tests.support.walking import MOMENTS


@dataclass
class Idle:
    """A refiner that keeps the mask, and records what each layer's generator draws."""

    needs: Needs = MOMENTS
    rows: Rows = "independent"
    skip: list[str] = field(default_factory=list)
    drawn: list[int] = field(default_factory=list)

    def __call__(
        self,
        weight: Tensor,
        initial: Initial,
        statistics: InputStatistics,
        pattern: Pattern,
        generator: torch.Generator,
    ) -> Refined:
        self.drawn.append(int(torch.randint(2**31, (1,), generator=generator)))
        none = torch.zeros(len(weight))
        return Refined(initial.mask, none, none, none.long())
