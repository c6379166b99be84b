"""DSnoT once more, slow and obvious: one row at a time, in Python's own numbers, straight from
the definition. The tests compare the package with it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from dsnot_exp.methods.patterns import NM, Pattern
from dsnot_exp.methods.protocols import Initial
from dsnot_exp.methods.statistics import InputStatistics


@dataclass
class Row:
    """One row: weights w, present weights v, kept flags, and the channels' statistics."""

    w: list[float]
    v: list[float]
    kept: list[bool]
    scores: list[float]
    unit: list[float]  # S * mean
    var: list[float]
    norm: list[float]

    def error(self) -> float:
        columns = range(len(self.w))
        return sum((self.w[k] - self.v[k] * self.kept[k]) * self.unit[k] for k in columns)


def refine_row(row: Row, pattern: Pattern, cycles: int, threshold: float, gamma: float,
               flip_stops: bool,
               run_on: bool = False) -> tuple[list[bool], float, int]:  # fmt: skip
    kept, moved, swaps = list(row.kept), set(), 0
    error = first = row.error()
    width = range(len(row.w))
    while swaps < cycles and abs(error) > threshold:
        sign = 1 if error > 0 else -1

        def benefit(k: int, sign: int = sign) -> float:
            c = sign * row.w[k] * row.unit[k]
            return math.inf if row.var[k] == 0 and gamma else c / row.var[k] ** gamma

        grow = [
            k for k in width
            if not kept[k] and k not in moved and sign * row.w[k] * row.unit[k] > 0
            and (partners(row, kept, moved, pattern, k, sign) or not isinstance(pattern, NM))
        ]  # fmt: skip
        if not grow:
            break
        g = max(grow, key=lambda k: (benefit(k), -k))
        candidates = partners(row, kept, moved, pattern, g, sign)
        wanda = [abs(v) * norm for v, norm in zip(row.v, row.norm, strict=True)]
        cost = row.scores if isinstance(pattern, NM) else wanda
        others = [k for k in width if kept[k] and k not in moved and row.v[k] * row.unit[k] != 0]
        if candidates:
            p = min(candidates, key=lambda k: (cost[k], k))
        elif run_on and others:
            p = max(others, key=lambda k: (cost[k], -k))
        else:
            break
        after = error + row.v[p] * row.unit[p] - row.w[g] * row.unit[g]
        if flip_stops and after * first <= 0:
            break
        error, swaps = after, swaps + 1
        kept[g], kept[p] = True, False
        moved |= {g, p}
    return kept, error, swaps


def partners(row: Row, kept: list[bool], moved: set[int], pattern: Pattern, g: int,
             sign: int) -> list[int]:  # fmt: skip
    """The kept weights that may be pruned for a grown weight g."""
    free = [k for k in range(len(kept)) if kept[k] and k not in moved]
    if isinstance(pattern, NM):
        return [k for k in free if k // pattern.m == g // pattern.m]
    return [k for k in free if sign * row.v[k] * row.unit[k] < 0]


def refine(
    weight: torch.Tensor,
    initial: Initial,
    statistics: InputStatistics,
    pattern: Pattern,
    cycles: int,
    threshold: float = 0.1,
    gamma: float = 1.0,
    flip_stops: bool | None = None,
    run_on: bool = False,
) -> tuple[torch.Tensor, list[float], list[int]]:
    """All rows -> (mask, errors after, swaps)."""
    flip = isinstance(pattern, NM) if flip_stops is None else flip_stops
    unit = (statistics.sequence_length * statistics.mean).tolist()
    var, norm = statistics.var.tolist(), statistics.norm.tolist()
    rows = [
        refine_row(Row(*(t[r].tolist() for t in
                         (weight, initial.weight, initial.mask, initial.scores)), unit, var, norm),
                   pattern, cycles, threshold, gamma, flip, run_on)
        for r in range(len(weight))
    ]  # fmt: skip
    return torch.tensor([r[0] for r in rows]), [r[1] for r in rows], [r[2] for r in rows]
