"""The first few candidates of each row, in order, without a full sort.

A score is reinterpreted as an integer (its bits). Non-negative floats keep their order, and an
entry is then excluded by an `&`, several times cheaper on a CPU than filling in infinities. `key:
(out, in)` int32, the largest goes first; 0 = not a candidate. `keys: (out, sides, in)`: one per
sign of the contribution, or one for both.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dsnot_exp.methods.layer_error import bits

MAGNITUDE = 0x7FFFFFFF  # all bits of a float except the sign
LAYERS = 8


def largest_first(score: Tensor, eligible: Tensor) -> Tensor:
    """`score: (out, in)` float32, whose sign is ignored; `eligible: (out, in)` bool -> key."""
    return (score.view(torch.int32) & MAGNITUDE).add_(1).bitwise_and_(bits(eligible))


def smallest_first(score: Tensor, eligible: Tensor) -> Tensor:
    """The smallest score has the largest key."""
    key = (score.view(torch.int32) & MAGNITUDE).bitwise_xor_(MAGNITUDE)
    return key.bitwise_and_(bits(eligible))


def by_sign(key: Tensor, value: Tensor) -> Tensor:
    """`key` -> (out, 2, in): the keys where `value: (out, in)` float32 is above, and below zero.

    (Entries with a value of zero must not be eligible.)
    """
    keys = key.new_empty(key.shape[0], 2, key.shape[1])
    negative = value.view(torch.int32) >> 31  # the sign bit, in every place
    below = torch.bitwise_and(key, negative, out=keys[:, 1])
    torch.bitwise_xor(key, below, out=keys[:, 0])
    return keys


def first(keys: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The columns of the `count` largest keys of `keys: (out, sides, in)`, leftmost first among
    equals, and whether each is a candidate: (out, sides, count) each."""
    out, sides, width = keys.shape
    keys = keys.flatten(0, 1)
    # One more than needed: if it equals the last one, topk may have picked the wrong one.
    top, column = _topk(keys, min(count + 1, width))
    tied = ((top[:, 1:] == top[:, :-1]) & (top[:, 1:] > 0)).any(1).nonzero()[:, 0]
    top, column = top[:, :count], column[:, :count]
    if len(tied):  # topk does not order equals: make the column part of the key
        unique = (keys[tied].long() << 32) - torch.arange(width, device=keys.device)
        column[tied] = unique.topk(top.shape[1], dim=1).indices
    return column.unflatten(0, (out, sides)), (top > 0).unflatten(0, (out, sides))


def _topk(key: Tensor, count: int, ordered: bool = True) -> tuple[Tensor, Tensor]:
    """topk, but a wide row is first folded into layers. Its `count` largest entries lie in the
    places with the `count` largest maxima over the layers (found recursively), so only those are
    searched.
    """
    rows, width = key.shape
    if width < 2 * LAYERS * count or width % LAYERS:
        return key.topk(count, dim=1, sorted=ordered)
    places = width // LAYERS
    folded = key.view(rows, LAYERS, places)
    place = _topk(folded.amax(1), count, ordered=False)[1]
    few = folded.gather(2, place.unsqueeze(1).expand(rows, LAYERS, count)).flatten(1)
    top, chosen = few.topk(count, dim=1, sorted=ordered)
    return top, place.gather(1, chosen % count) + chosen // count * places
