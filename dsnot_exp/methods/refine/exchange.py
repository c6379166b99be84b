"""The best exchanges of a kept and a pruned weight, under a quadratic loss of each row.

A row keeps the values v of the weights in its mask m and has the gradient g = B - (m v) H, where H
is the Gram matrix and B the right side (B = t H asks for the outputs of the weights t). Removing
the kept weight p and growing the pruned weight u changes the loss x H x^T - 2 B x^T by

    v_p (2 g_p + v_p H_pp)  +  v_u (v_u H_uu - 2 g_u)  -  2 v_p v_u H_pu

and g by v_p H_p - v_u H_u. Every row makes its best exchange again and again, until none lowers its
loss. For N:M both weights are in one group, and all pairs are compared. Otherwise a step compares a
pool of the kept weights, those that cost least to remove alone, with all pruned ones; before the
row stops, all kept weights are compared. So a row that has stopped is at a local optimum.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dsnot_exp.methods.layer_error import expected_error
from dsnot_exp.methods.patterns import NM, Pattern
from dsnot_exp.methods.protocols import Initial, Refined
from dsnot_exp.methods.refine import exchange_kernel
from dsnot_exp.methods.refine.exchange_gram import Gram
from dsnot_exp.methods.statistics import InputStatistics
from dsnot_exp.utils.accelerator import is_accelerator

LEAST = 1e-7  # an exchange must lower the loss by this share of the row's energy
ENTRIES, ENTRIES_GPU = 1 << 22, 1 << 27  # of H's rows that are looked at together
INF = float("inf")


@dataclass(frozen=True)
class Exchanger:
    """gram: H; pattern: of the mask; most: exchanges per row; pool: its size"""

    gram: Gram
    pattern: Pattern
    most: int
    pool: int

    def __call__(self, target: Tensor, value: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """The new mask and the number of exchanges, (rows, in) and (rows,).

        target: B; value: v; mask: True where the value is kept; (rows, in) each, float32 and bool
        """
        gradient = target - self.gram.times(value.masked_fill(~mask, 0))
        least = LEAST * (value.square() * self.gram.diagonal).sum(1)
        if not bool(torch.isfinite(gradient.sum() + least.sum())):
            raise ArithmeticError(
                "its outputs on the calibration inputs hold NaN or infinity; try "
                "model.dtype=float32"
            )
        if not exchange_kernel.available(value):
            return self.step_by_step(gradient, least, value, mask)
        m = self.pattern.m if isinstance(self.pattern, NM) else 0
        return exchange_kernel.exchange_rows(
            self.gram, gradient, least, value, mask, self.most, self.pool, m
        )

    def step_by_step(
        self, gradient: Tensor, least: Tensor, value: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """As native/exchange.c, for all rows at once."""
        mask, swaps = mask.clone(), torch.zeros(len(mask), dtype=torch.int64, device=mask.device)
        rows = torch.arange(len(mask), device=mask.device)  # those that have not stopped
        for _ in range(self.most):
            if len(rows) == 0:
                break
            kept, held, slope = mask[rows], value[rows], gradient[rows]
            change, out, into = self.best(slope, least[rows], held, kept)
            going = change < -least[rows]
            rows, out, into, held = (part[going] for part in (rows, out, into, held))
            mask[rows, out], mask[rows, into] = False, True
            image = self.gram.rows(out) * held.gather(1, out[:, None])
            image -= self.gram.rows(into) * held.gather(1, into[:, None])
            gradient[rows] = slope[going] + image
            swaps[rows] += 1
        return mask, swaps

    def best(
        self, gradient: Tensor, least: Tensor, value: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Each row's best exchange: the change of the loss, the weight to remove and the one to
        grow, (rows,) each."""
        own, slope = value.square() * self.gram.diagonal, 2 * value * gradient
        remove = (own + slope).masked_fill(~mask, INF)
        grow = (own - slope).masked_fill(mask, INF)
        if isinstance(self.pattern, NM):
            return _best_of_groups(remove, grow, value, self.gram.blocks(self.pattern.m))
        few = min(self.pool, mask.shape[1])
        cheapest = remove.topk(few, dim=1, largest=False).indices
        found = self._compared(remove, grow, value, cheapest)
        stopped = (found[0] >= -least).nonzero()[:, 0]
        if few < mask.shape[1] and len(stopped):
            everything = torch.arange(mask.shape[1], device=mask.device)
            out = everything.expand(len(stopped), -1)
            whole = self._compared(remove[stopped], grow[stopped], value[stopped], out)
            for part, new in zip(found, whole, strict=True):
                part[stopped] = new
        return found

    def _compared(
        self, remove: Tensor, grow: Tensor, value: Tensor, out: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """As `best`, of the weights `out: (rows, some)` with all pruned ones."""
        few, width = out.shape[1], value.shape[1]
        entries = ENTRIES_GPU if is_accelerator(value) else ENTRIES
        found = []
        for part in range(0, len(out), height := max(1, entries // (few * width))):
            rows = slice(part, part + height)
            from_, held = out[rows], value[rows]
            twice = 2 * held.gather(1, from_)[:, :, None]
            change = grow[rows, None] - twice * held[:, None] * self.gram.rows(from_)
            change += remove[rows].gather(1, from_)[:, :, None]
            best, place = change.flatten(1).min(1)
            found.append((best, from_.gather(1, (place // width)[:, None])[:, 0], place % width))
        best, chosen, into = (torch.cat(parts) for parts in zip(*found, strict=True))
        return best, chosen, into


def _best_of_groups(
    remove: Tensor, grow: Tensor, value: Tensor, blocks: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    m = blocks.shape[1]
    remove, grow, value = (part.unflatten(1, (-1, m)) for part in (remove, grow, value))
    change = grow[..., None, :] - 2 * value[..., None] * value[..., None, :] * blocks
    best, place = change.add_(remove[..., None]).flatten(1).min(1)
    first, pair = place // m**2 * m, place % m**2
    return best, first + pair // m, first + pair % m


def refined_to(
    mask: Tensor, swaps: Tensor, weight: Tensor, initial: Initial, statistics: InputStatistics
) -> Refined:
    """A new mask with its expected errors, in DSnoT's unit."""
    new = replace(initial, mask=mask, weight=initial.present(weight))
    before = expected_error(weight, initial, statistics)
    return Refined(mask, before, expected_error(weight, new, statistics), swaps)
