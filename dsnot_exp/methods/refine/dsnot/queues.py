"""Queues of candidates, one per row and side, and pointers into them.

Each weight moves at most once, so a row's candidates are ordered before the first cycle, and a
cycle only looks at the heads. A side is the sign of the row's error: 0 where e_r > 0, 1 where
e_r < 0. Criteria that ignore the sign have one side for both.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dsnot_exp.methods.patterns import NM
from dsnot_exp.methods.protocols import Initial

Lines = tuple[Tensor, Tensor, Tensor]


def lines(column: Tensor, found: Tensor, value: Tensor) -> Lines:
    """The lines of some rows: columns in order, whether each is a candidate, and its contribution,
    looked up in `value: (out, in)`. (out, sides, length) each."""
    rows, sides, length = column.shape
    return column, found, value.gather(1, column.flatten(1)).view(rows, sides, length)


def then(near: Lines, far: Lines) -> Lines:
    """`near`'s candidates followed by `far`'s, cut to the length of `near`."""
    place = torch.arange(near[0].shape[2], device=near[0].device)
    count = near[1].sum(2, keepdim=True)
    inside = place < count
    beyond = (place - count).clamp(min=0)
    column, found, value = (
        torch.where(inside, n, f.gather(2, beyond)) for n, f in zip(near, far, strict=True)
    )
    return column, found, value


class Queue:
    """column, value (float64): (out * sides * (length + 1),), the lines one after the other, each
    closed by an entry with the value NaN.
    head: (out * sides,), the current position in each line; taken: candidates that have moved."""

    def __init__(self, parts: list[Lines], again: bool = False) -> None:
        """`parts`: the lines of slices of rows. `again`: a candidate may be in both lines of its
        row, and one line skips what the other has taken."""
        columns, found, values = (torch.cat(part) for part in zip(*parts, strict=True))
        self.sides, length = columns.shape[1:]
        value = values.double().masked_fill(~found, torch.nan)
        end = (0, 1)
        self.column = torch.nn.functional.pad(columns, end).flatten()
        self.value = torch.nn.functional.pad(value, end, value=torch.nan).flatten()
        lines = torch.arange(columns.shape[0] * self.sides, device=columns.device)
        self.first_line, self.head = lines[:: self.sides], lines * (length + 1)
        self.length, self.again = length, again
        self.taken = torch.zeros_like(self.column, dtype=torch.bool)

    def peek(self, side: Tensor, grown: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The heads' columns and values, NaN at the end of a line: (out,) each."""
        self.line = self.first_line + side if self.sides == 2 else self.first_line
        if self.again:
            self._skip_taken_by_other_line(side)
        self.at = self.head.index_select(0, self.line)
        return self.column.index_select(0, self.at), self.value.index_select(0, self.at)

    def pop(self, rows: Tensor, moved: Tensor) -> None:
        """Advance past the heads of the last `peek` in `rows: (out,)` bool; `moved`: the rows in
        which the candidate is swapped."""
        self.taken.scatter_(0, self.at, moved)
        self.head.scatter_(0, self.line, self.at + rows)

    def _skip_taken_by_other_line(self, side: Tensor) -> None:
        taken, column = (x.view(-1, 2, self.length + 1) for x in (self.taken, self.column))
        row = torch.arange(len(side), device=side.device)
        other = column[row, 1 - side].masked_fill(~taken[row, 1 - side], -1)
        while True:
            at = self.head[self.line]
            gone = (self.column[at].unsqueeze(1) == other).any(1) & ~self.value[at].isnan()
            if not bool(gone.any()):
                return
            self.head[self.line] = at + gone

    def mark(self, mask: Tensor, kept: bool) -> None:
        """Write the taken candidates into `mask: (out, in)`."""
        at = self.taken.nonzero()[:, 0]
        mask[at // (self.sides * (self.length + 1)), self.column[at]] = kept


class Groups:
    """N:M: the prune candidate is the kept weight of the lowest cost in the grown weight's group,
    whatever its sign. Only the groups that are needed are searched."""

    def __init__(self, cost: Tensor, initial: Initial, unit: Tensor, pattern: NM) -> None:
        """`cost: (out, in)`; `unit: (in,)`: the contribution of a weight of 1."""
        self.cost, self.weight, self.unit, self.m = cost, initial.weight, unit, pattern.m
        self.mask, self.left = initial.mask, initial.mask.clone()

    def peek(self, side: Tensor, grown: Tensor) -> tuple[Tensor, Tensor]:
        """In the groups of `grown: (out,)`: the column and its value, NaN if none is left."""
        start = (grown // self.m * self.m).unsqueeze(1)
        group = start + torch.arange(self.m, device=grown.device)  # (out, M)
        left = self.left.gather(1, group)
        cost = self.cost.gather(1, group).masked_fill(~left, torch.inf)
        self.at = start + cost.argmin(1, keepdim=True)  # the leftmost among equals
        value = self.weight.gather(1, self.at).float()[:, 0] * self.unit[self.at[:, 0]]
        return self.at[:, 0], value.double().masked_fill(~left.any(1), torch.nan)

    def pop(self, rows: Tensor, moved: Tensor) -> None:
        self.left.scatter_(1, self.at, self.left.gather(1, self.at) & ~moved.unsqueeze(1))

    def mark(self, mask: Tensor, kept: bool) -> None:
        mask.masked_fill_(self.mask & ~self.left, kept)
