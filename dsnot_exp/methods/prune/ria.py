"""RIA, relative importance and activations (Zhang et al., "Plug-and-Play", ICLR 2024).

A weight's relative importance is its share of the weights that leave its input channel and of those
that reach its output channel, so that no channel is pruned as a whole:

    (|W_rk| / sum_r |W_rk| + |W_rk| / sum_k |W_rk|) * ||A_k||^a

The released code compares the scores over the whole matrix.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from dsnot_exp.methods.patterns import Pattern
from dsnot_exp.methods.protocols import Initial, Needs, Rows
from dsnot_exp.methods.prune.options import RIAOptions
from dsnot_exp.methods.statistics import InputStatistics, Statistic


@dataclass(frozen=True)
class RIA(RIAOptions):
    needs: ClassVar[Needs] = frozenset({Statistic.NORM})
    rows: ClassVar[Rows] = "together"  # for the sums over the columns

    def __call__(
        self,
        weight: Tensor,
        statistics: InputStatistics | None,
        pattern: Pattern,
        equal_rows: bool,
    ) -> Initial:
        assert statistics is not None, "RIA needs the norm of its input"
        scores = relative_importance(weight).mul_(statistics.norm**self.power)
        mask = pattern.mask(scores, self.compared_over(equal_rows))
        return Initial(mask, weight, scores)


def relative_importance(weight: Tensor) -> Tensor:
    """(out, in), float32. A row or a column of zeros has no importance."""
    sizes = weight.abs().float()
    least = torch.finfo(torch.float32).tiny
    of_column = sizes.sum(0).clamp_(min=least)  # (in,)
    of_row = sizes.sum(1, keepdim=True).clamp_(min=least)  # (out, 1)
    return sizes / of_column + sizes / of_row
