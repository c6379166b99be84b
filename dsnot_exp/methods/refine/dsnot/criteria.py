"""The grow and prune criteria: the candidates of each row, in order."""

from __future__ import annotations

import torch
from torch import Tensor

from dsnot_exp.methods.layer_error import contribution, row_slices
from dsnot_exp.methods.patterns import NM
from dsnot_exp.methods.protocols import Layer
from dsnot_exp.methods.prune.wanda import wanda_scores
from dsnot_exp.methods.refine.dsnot.candidates import by_sign, first, largest_first, smallest_first
from dsnot_exp.methods.refine.dsnot.queues import Groups, Queue, lines, then
from dsnot_exp.methods.statistics import InputStatistics


def grow_queue(
    criterion: str, layer: Layer, divisor: Tensor, cycles: int, generator: torch.Generator
) -> Queue:
    """The pruned weights, best first. A grown weight comes back with its dense value.

    mean, mean_over_var: |c_rk| / divisor_k, on the side of c_rk's sign; `divisor: (in,)`.
    """
    statistics, pattern, length = layer.statistics, layer.pattern, cycles
    if isinstance(pattern, NM):
        # A group with n kept weights can swap n times. Its other pruned weights are skipped, so
        # the queue must be longer by that factor.
        length = cycles * max(1, -(-(pattern.m - pattern.n) // pattern.n))
    scores = Scores(criterion, layer.weight, statistics, generator)
    parts = []
    for rows in row_slices(layer.weight):
        value = contribution(layer.weight[rows], statistics)
        candidates = ~layer.initial.mask[rows] & (statistics.norm > 0)  # never a dead channel
        if criterion.startswith("mean"):
            # The sign of c_rk decides, not that of the quotient, which may be 0 or NaN.
            key = largest_first(value / divisor, candidates & value.bool())
            keys = by_sign(key, value)
        else:
            keys = largest_first(scores[rows], candidates).unsqueeze(1)
        parts.append(lines(*first(keys, length), value))
    return Queue(parts)


def prune_queue(
    criterion: str, layer: Layer, length: int, generator: torch.Generator, run_on: bool
) -> Queue | Groups:
    """The kept weights, least important first. A pruned weight takes away its present value.

    `run_on`: a side without candidates left continues with the other side's, from the far end.
    """
    initial, statistics = layer.initial, layer.statistics
    scores = Scores(criterion.removeprefix("signed_"), initial.weight, statistics, generator)
    if isinstance(layer.pattern, NM):
        cost = initial.scores if criterion == "signed_wanda" else scores[:]
        unit = statistics.sequence_length * statistics.mean
        return Groups(cost, initial, unit, layer.pattern)
    signed, parts = criterion.startswith("signed_"), []
    for rows in row_slices(initial.weight):
        value = contribution(initial.weight[rows], statistics)
        cost, kept = scores[rows], initial.mask[rows]
        if not signed:
            keys = smallest_first(cost, kept).unsqueeze(1)
            parts.append(lines(*first(keys, length), value))
            continue
        kept = kept & value.bool()
        # Pruning adds the contribution to the error: if e_r > 0, a negative one lowers it.
        column, found = first(by_sign(smallest_first(cost, kept), value), length)
        part = lines(column.flip(1), found.flip(1), value)
        if run_on:
            keys = by_sign(largest_first(cost, kept), value)
            part = then(part, lines(*first(keys, length), value))
        parts.append(part)
    return Queue(parts, again=signed and run_on)


class Scores:
    """Scores of the criteria that ignore the contribution; large = important. Indexed by a slice of
    rows."""

    def __init__(
        self, kind: str, weight: Tensor, statistics: InputStatistics, generator: torch.Generator
    ) -> None:
        self.kind, self.weight, self.statistics = kind, weight, statistics
        if kind == "random":
            # Drawn on the CPU, so that every device uses the same numbers.
            self.drawn = torch.rand(weight.shape, generator=generator)

    def __getitem__(self, rows: slice) -> Tensor:
        if self.kind == "random":
            return self.drawn[rows].to(self.weight.device)
        if self.kind == "wanda":
            return wanda_scores(self.weight[rows], self.statistics)
        return self.weight[rows].float().abs()
