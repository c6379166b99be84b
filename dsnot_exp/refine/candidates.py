"""Ordered candidates for growing and for pruning, and pointers into them.

A weight moves once at most, so a row's candidates can be ordered before the first cycle; a cycle
then only looks at the head of a queue. A row needs at most `max_cycles` of them: no full sort.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dsnot_exp.patterns import NM, smallest


class Queue:
    """Per row and side, columns in the order in which they are to be taken.

    A side is the sign of the row's error: 0 where e_r > 0, 1 where e_r < 0. Criteria that do not
    look at the sign have one side for both.
    column, value, valid, taken: (sides, out, length); head: (sides, out); available: (out,).
    """

    def __init__(
        self,
        cost: Tensor,
        eligible: list[Tensor],
        value: Tensor,
        length: int,
        run_on: bool = False,
    ) -> None:
        """`cost: (out, in)`: lowest first. `eligible`: a mask (out, in) per side.
        `value: (out, in)`: the contribution that a move adds to or takes from the error.
        `run_on`: a side that is used up goes on into the other's candidates, from the far end:
        the sides are then one row of candidates, taken from both ends until they meet."""
        length = min(length, cost.shape[1])
        columns = [self._cheapest(cost, side, length) for side in eligible]
        valid = [side.gather(1, c) for side, c in zip(eligible, columns, strict=True)]
        self.available = torch.full_like(columns[0][:, 0], 2 * length)
        if run_on:
            for own, other in ((0, 1), (1, 0)):
                beyond = self._cheapest(-cost, eligible[other], length)
                column = torch.cat([columns[own], beyond], 1)
                fits = torch.cat([valid[own], eligible[other].gather(1, beyond)], 1)
                order = fits.logical_not().sort(dim=1, stable=True).indices[:, :length]
                columns[own], valid[own] = column.gather(1, order), fits.gather(1, order)
            self.available = (eligible[0] | eligible[1]).sum(1)
        self.column, self.valid = torch.stack(columns), torch.stack(valid)
        self.value = torch.stack([value.gather(1, c) for c in columns]).double()
        self.length = length
        self.head = torch.zeros(self.column.shape[:2], dtype=torch.int64, device=cost.device)
        self.taken = torch.zeros_like(self.valid)

    @staticmethod
    def _cheapest(cost: Tensor, eligible: Tensor, length: int) -> Tensor:
        """The columns (out, length) of the lowest cost, in its order, leftmost first among equals;
        columns that are not eligible fill up the end."""
        cost = cost.masked_fill(~eligible, torch.inf)
        lowest = cost.topk(min(length + 1, cost.shape[1]), dim=1, largest=False)
        column = lowest.indices[:, :length]
        ties = lowest.values[:, 1:] == lowest.values[:, :-1]
        tied = (ties & (lowest.values[:, 1:] < torch.inf)).any(1).nonzero()[:, 0]
        if len(tied):  # topk leaves the order of equals open
            cost = cost[tied]
            stable = smallest(cost, length).nonzero()[:, 1].reshape(len(tied), length)
            order = cost.gather(1, stable).sort(dim=1, stable=True).indices
            column[tied] = stable.gather(1, order)
        return column

    def _side(self, negative: Tensor) -> Tensor:
        return negative.long() if len(self.column) == 2 else torch.zeros_like(negative.long())

    def _head(self, negative: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        side, row = self._side(negative), torch.arange(len(negative), device=negative.device)
        return side, row, self.head[side, row]

    def peek(self, negative: Tensor, column: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """The head's column, its value, and whether there is one: (out,) each."""
        side, row, head = self._head(negative)
        at = (side, row, head.clamp(max=self.length - 1))
        left = (head < self.length) & (self.head.sum(0) < self.available)
        return self.column[at], self.value[at], left & self.valid[at]

    def pop(self, rows: Tensor, moved: Tensor, negative: Tensor) -> None:
        """Go past the head in `rows: (out,)` bool; `moved`: those where it is really taken."""
        side, row, head = self._head(negative)
        at = (side, row, head.clamp(max=self.length - 1))
        self.taken[at] |= moved
        self.head[side, row] = head + rows.long()

    def moved(self) -> tuple[Tensor, Tensor]:
        """(row, column) of every weight that was taken."""
        side, row, place = self.taken.nonzero(as_tuple=True)
        return row, self.column[side, row, place]


class GroupQueue:
    """N:M: the kept weights of each group, in the order in which they are to be pruned.

    column, value: (out, groups, n); head: (out, groups).
    """

    def __init__(self, cost: Tensor, kept: Tensor, value: Tensor, pattern: NM) -> None:
        """`cost: (out, in)`: lowest first; `kept: (out, in)`: the candidates, n per group."""
        cost = pattern.groups(cost.masked_fill(~kept, torch.inf))
        order = cost.sort(dim=2, stable=True).indices[..., : pattern.n]
        first = torch.arange(cost.shape[1], device=cost.device).unsqueeze(1) * pattern.m
        self.column = order + first
        self.value = pattern.groups(value).gather(2, order).double()
        self.head = torch.zeros(cost.shape[:2], dtype=torch.int64, device=cost.device)
        self.n, self.m = pattern.n, pattern.m

    def _head(self, column: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        row, group = torch.arange(len(column), device=column.device), column // self.m
        return row, group, self.head[row, group]

    def peek(self, negative: Tensor, column: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """In the groups of `column: (out,)`: the head's column, its value, and whether there is
        one. The sign of the error plays no part."""
        row, group, head = self._head(column)
        at = (row, group, head.clamp(max=self.n - 1))
        return self.column[at], self.value[at], head < self.n

    def pop(self, rows: Tensor, column: Tensor) -> None:
        """Take the heads of the groups of `column` in `rows: (out,)` bool."""
        row, group, head = self._head(column)
        self.head[row, group] = head + rows.long()

    def moved(self) -> tuple[Tensor, Tensor]:
        """(row, column) of every weight that was taken."""
        position = torch.arange(self.n, device=self.head.device)
        row, group, place = (position < self.head.unsqueeze(2)).nonzero(as_tuple=True)
        return row, self.column[row, group, place]
