"""Chooses the refinement budget of a block on held-out calibration tokens.

Fewer swaps can be better than more: DSnoT reduces the expected error of each row, and past some
budget it fits the calibration tokens. The block's own output tells: every candidate's masks are
put into the block in turn, and the one with the smallest output error stays. Candidate 0, the
initial mask, is among them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Protocol

import torch
from torch import Tensor

from dsnot_exp.methods.layer_error import token_errors
from dsnot_exp.methods.protocols import Refined, Refiner
from dsnot_exp.utils.distributed import Ranks
from dsnot_exp.walk.record import Choice
from dsnot_exp.walk.view import BlockView

Masks = dict[str, Refined | None]


class Started(Protocol):
    """A layer with its initial mask."""

    ranks: Ranks

    def refine(self, refiner: Refiner | None) -> Refined | None: ...
    def mask(self, refined: Refined | None) -> Tensor: ...
    def sparse(self, refined: Refined | None) -> Tensor: ...


def choose(
    view: BlockView,
    layers: Mapping[str, Started],
    candidates: Mapping[str, Refiner],
    timed: Callable[[str], AbstractContextManager[None]],
    ranks: Ranks,
) -> tuple[Choice, Masks]:
    """The choice, and each layer's refined mask under it. Leaves the weights of some candidate in
    the block. On a tie the smaller budget wins.

    layers: by their name in the block, which still has its dense weights
    """
    with timed("refine"):
        dense = view.held_out_outputs()
    errors: dict[str, float] = {}
    best, last = "", ""
    masks: dict[str, Masks] = {}  # of the best and of the last candidate
    for budget, refiner in candidates.items():
        masks[budget] = {name: layer.refine(refiner) for name, layer in layers.items()}
        if last and _equal(layers, masks[last], masks[budget], ranks):
            errors[budget] = errors[last]  # every row had stopped before
        else:
            with timed("refine"):
                _write(view, layers, masks[budget])
                errors[budget] = output_error(view.held_out_outputs(), dense, ranks)
        best = min((best or budget, budget), key=lambda b: errors[b])
        masks = {kept: masks[kept] for kept in (best, budget)}
        last = budget
    return Choice(view.name, best, errors), masks[best]


def _equal(layers: Mapping[str, Started], a: Masks, b: Masks, ranks: Ranks) -> bool:
    same = all(torch.equal(m.mask(a[name]), m.mask(b[name])) for name, m in layers.items())
    return all(ranks.gather(same))


def _write(view: BlockView, layers: Mapping[str, Started], masks: Masks) -> None:
    for name, layer in layers.items():
        view.linears[name].write(layer.ranks.concat(layer.sparse(masks[name])))


def output_error(sparse: Tensor, dense: Tensor, ranks: Ranks) -> float:
    """Mean over the held-out tokens of all processes of |y - y'|^2 / |y|^2, y being the dense
    block's output. Every token counts the same: a few have outputs hundreds of times as large.

    sparse, dense: (sequences, tokens, hidden)
    """
    total, tokens = 0.0, 0
    for ours, wanted in zip(sparse, dense, strict=True):
        total += float(token_errors(ours, wanted).sum(dtype=torch.float64))
        tokens += len(wanted)
    sums = ranks.gather((total, tokens))
    return sum(part for part, _ in sums) / max(1, sum(count for _, count in sums))
