"""The first few candidates of a row, in the order in which they are to be taken: no full sort.

A score is looked at as the integer that its bits spell. For floats that are not negative the
order is the same, and leaving an entry out is then an `&`, several times cheaper on a CPU than
filling in infinities. `key: (out, in)` int32, the largest goes first; 0 = not a candidate.
`keys: (out, sides, in)`: one per sign of the contribution, or one for both.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dsnot_exp.methods.layer_error import bits

MAGNITUDE = 0x7FFFFFFF  # every bit of a float but its sign
LAYERS = 8


def largest_first(score: Tensor, eligible: Tensor) -> Tensor:
    """`score: (out, in)` float32, whose sign is ignored; `eligible: (out, in)` bool -> key."""
    return (score.view(torch.int32) & MAGNITUDE).add_(1).bitwise_and_(bits(eligible))


def smallest_first(score: Tensor, eligible: Tensor) -> Tensor:
    """The other way round: the smallest score has the largest key."""
    key = (score.view(torch.int32) & MAGNITUDE).bitwise_xor_(MAGNITUDE)
    return key.bitwise_and_(bits(eligible))


def by_sign(key: Tensor, value: Tensor) -> Tensor:
    """`key` -> (out, 2, in): the keys where `value: (out, in)` float32 is above, and below zero.

    (Where it is zero there is no candidate by then.)
    """
    keys = key.new_empty(key.shape[0], 2, key.shape[1])
    negative = value.view(torch.int32) >> 31  # the sign bit, in every place
    below = torch.bitwise_and(key, negative, out=keys[:, 1])
    torch.bitwise_xor(key, below, out=keys[:, 0])
    return keys


def first(keys: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The columns of the `count` largest keys of `keys: (out, sides, in)`, leftmost first among
    equals, and whether there is a candidate at all: (out, sides, count) each."""
    out, sides, width = keys.shape
    keys = keys.flatten(0, 1)
    # One more than asked for: where it equals the last, which of the two comes first is open.
    top, column = _topk(keys, min(count + 1, width))
    tied = ((top[:, 1:] == top[:, :-1]) & (top[:, 1:] > 0)).any(1).nonzero()[:, 0]
    top, column = top[:, :count], column[:, :count]
    if len(tied):  # topk leaves the order of equals open: the column becomes part of the key
        unique = (keys[tied].long() << 32) - torch.arange(width, device=keys.device)
        column[tied] = unique.topk(top.shape[1], dim=1).indices
    return column.unflatten(0, (out, sides)), (top > 0).unflatten(0, (out, sides))


def _topk(key: Tensor, count: int, ordered: bool = True) -> tuple[Tensor, Tensor]:
    """topk, but a wide row is folded into layers first: its `count` largest entries lie below the
    `count` largest of the maxima over the layers (found likewise), and only there are looked for.
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
