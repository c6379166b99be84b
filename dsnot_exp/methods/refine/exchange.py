"""The best exchanges of a kept and a pruned weight, under a quadratic loss of each row.

A row keeps the values v of the weights in its mask m and has the gradient g = B - (m v) H, where H
is the Gram matrix and B the right side (B = t H asks for the outputs of the weights t). Removing
the kept weight p and growing the pruned weight u changes the loss x H x^T - 2 B x^T by

    v_p (2 g_p + v_p H_pp)  +  v_u (v_u H_uu - 2 g_u)  -  2 v_p v_u H_pu

Each step makes the best exchange of every row at once, until no exchange lowers the loss. The loss
can only fall. For N:M the two weights are in the same group.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from dsnot_exp.methods.layer_error import expected_error
from dsnot_exp.methods.patterns import NM, Pattern
from dsnot_exp.methods.protocols import Initial, Refined
from dsnot_exp.methods.statistics import InputStatistics

LEAST = 1e-7  # an exchange must lower the loss by this share of the row's energy
INF = float("inf")


class Gram(Protocol):
    """A Gram matrix H (in, in), not necessarily stored."""

    @property
    def diagonal(self) -> Tensor: ...

    def times(self, rows: Tensor) -> Tensor:
        """`rows: (rows, in)` @ H."""

    def row(self, columns: Tensor) -> Tensor:
        """`columns: (rows,)` -> H's rows (rows, in)."""

    def pairs(self, a: Tensor, b: Tensor) -> Tensor:
        """Columns `a`, `b`: (rows, k) -> H_ab (rows, k, k), for a other than b."""

    def blocks(self, size: int) -> Tensor:
        """The blocks on the diagonal, (in / size, size, size), but for the diagonal itself."""


@dataclass(frozen=True)
class Stored:
    """A Gram matrix in memory."""

    matrix: Tensor

    @property
    def diagonal(self) -> Tensor:
        return self.matrix.diagonal()

    def times(self, rows: Tensor) -> Tensor:
        return rows @ self.matrix

    def row(self, columns: Tensor) -> Tensor:
        return self.matrix[columns]

    def pairs(self, a: Tensor, b: Tensor) -> Tensor:
        return self.matrix[a[:, :, None], b[:, None, :]]

    def blocks(self, size: int) -> Tensor:
        groups = len(self.matrix) // size
        cut = self.matrix.view(groups, size, groups, size)
        return cut.diagonal(dim1=0, dim2=2).permute(2, 0, 1)


@dataclass(frozen=True)
class Independent:
    """The Gram matrix of inputs whose channels are independent: mean mean^T + diag(var)."""

    mean: Tensor
    var: Tensor

    @property
    def diagonal(self) -> Tensor:
        return self.mean.square() + self.var

    def times(self, rows: Tensor) -> Tensor:
        return torch.outer(rows @ self.mean, self.mean).addcmul_(rows, self.var)

    def row(self, columns: Tensor) -> Tensor:
        found = torch.outer(self.mean[columns], self.mean)
        return found.scatter_add_(1, columns[:, None], self.var[columns][:, None])

    def pairs(self, a: Tensor, b: Tensor) -> Tensor:
        return self.mean[a][:, :, None] * self.mean[b][:, None, :]

    def blocks(self, size: int) -> Tensor:
        groups = self.mean.view(-1, size)
        return groups[:, :, None] * groups[:, None, :]


def exchange(
    gram: Gram, target: Tensor, value: Tensor, mask: Tensor, pattern: Pattern, most: int, pool: int
) -> tuple[Tensor, Tensor]:
    """The mask after at most `most` exchanges per row, and their number: (rows, in), (rows,).

    target: B; value: v; mask: True where the value is kept; (rows, in) each, float32 and bool
    """
    mask, swaps = mask.clone(), torch.zeros(len(mask), dtype=torch.int64, device=mask.device)
    rows = torch.arange(len(mask), device=mask.device)  # those that have not stopped
    gradient = target - gram.times(value.masked_fill(~mask, 0))
    least = LEAST * (value.square() * gram.diagonal).sum(1)
    kept = mask.clone()
    for _ in range(most):
        change, out, into = _best(gram, gradient, value, kept, pattern, pool)
        going = change < -least
        count = int(going.count_nonzero())
        if count == 0:
            break
        if count < len(rows):
            mask[rows] = kept
            rows, kept, least = rows[going], kept[going], least[going]
            gradient, value, out, into = (t[going] for t in (gradient, value, out, into))
        place = torch.arange(len(rows), device=rows.device)
        kept[place, out], kept[place, into] = False, True
        gradient.addcmul_(value[place, out][:, None], gram.row(out))
        gradient.addcmul_(value[place, into][:, None], gram.row(into), value=-1)
        swaps[rows] += 1
    mask[rows] = kept
    return mask, swaps


def _best(
    gram: Gram, gradient: Tensor, value: Tensor, mask: Tensor, pattern: Pattern, pool: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Each row's best exchange: the change of the loss, the weight to remove and the one to grow,
    (rows,) each."""
    own, slope = value.square().mul_(gram.diagonal), 2 * value * gradient
    remove = (own + slope).masked_fill_(~mask, INF)
    grow = (own - slope).masked_fill_(mask, INF)
    if isinstance(pattern, NM):
        remove, grow, cut = (pattern.groups(t) for t in (remove, grow, value))
        change = -2 * cut[..., None] * cut[..., None, :] * gram.blocks(pattern.m)
        change.add_(remove[..., None]).add_(grow[..., None, :])
        best, place = change.flatten(1).min(1)
        group, pair = place // pattern.m**2, place % pattern.m**2
        first = group * pattern.m
        return best, first + pair // pattern.m, first + pair % pattern.m
    few = min(pool, mask.shape[1])
    remove, out = remove.topk(few, dim=1, largest=False, sorted=False)
    grow, into = grow.topk(few, dim=1, largest=False, sorted=False)
    change = gram.pairs(out, into).mul_(-2)
    change.mul_(value.gather(1, out)[:, :, None]).mul_(value.gather(1, into)[:, None, :])
    change.add_(remove[:, :, None]).add_(grow[:, None, :])
    best, place = change.flatten(1).min(1)
    place = place[:, None]
    return best, out.gather(1, place // few)[:, 0], into.gather(1, place % few)[:, 0]


def refined_to(
    mask: Tensor, swaps: Tensor, weight: Tensor, initial: Initial, statistics: InputStatistics
) -> Refined:
    """A new mask with its expected errors, in DSnoT's unit."""
    new = replace(initial, mask=mask, weight=initial.present(weight))
    before = expected_error(weight, initial, statistics)
    return Refined(mask, before, expected_error(weight, new, statistics), swaps)
