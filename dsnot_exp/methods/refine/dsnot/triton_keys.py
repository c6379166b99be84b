"""The keys of candidates.py in Triton, of some columns of one row. Only `triton_kernel.py` imports
this file.

A key has the sign of the weight's contribution, and is 0 if the weight is not a candidate:

    grow    of a pruned weight, the largest |c| / var^gamma has the largest magnitude
    prune   of a kept weight, the smallest |W^| * norm has the largest

All pointers are to the row's first column; `column`: a block of columns.
`state` of a weight: 0 = pruned, 1 = kept; plus 2: has moved, or can never move.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def magnitude(value):  # type: ignore[no-untyped-def]
    """The bits of |value| as an integer; a float's abs need not keep those of a NaN."""
    return value.to(tl.int32, bitcast=True) & 0x7FFFFFFF


@triton.jit
def signed(key, negative):  # type: ignore[no-untyped-def]
    return tl.where(negative, -key, key)


@triton.jit
def values(weight, unit, column, inside):  # type: ignore[no-untyped-def]
    """-> (weight, contribution) in float32, 0 where not `inside`."""
    w = tl.load(weight + column, mask=inside, other=0.0).to(tl.float32)
    return w, w * tl.load(unit + column, mask=inside, other=0.0)


@triton.jit
def grow_keys(weight, state, unit, divisor, norm, column, width):  # type: ignore[no-untyped-def]
    inside = column < width
    _, c = values(weight, unit, column, inside)
    score = tl.div_rn(c, tl.load(divisor + column, mask=inside, other=1.0))
    alive = tl.load(norm + column, mask=inside, other=0.0) > 0
    pruned = tl.load(state + column, mask=inside, other=1) == 0
    key = tl.where(pruned & alive & (c != 0), magnitude(score) + 1, 0)
    return signed(key, c.to(tl.int32, bitcast=True) < 0)


@triton.jit
def prune_keys(weight, state, unit, norm, column, width):  # type: ignore[no-untyped-def]
    inside = column < width
    w, c = values(weight, unit, column, inside)
    cost = w * tl.load(norm + column, mask=inside, other=0.0)
    kept = tl.load(state + column, mask=inside, other=0) == 1
    key = tl.where(kept & (c != 0), magnitude(cost) ^ 0x7FFFFFFF, 0)
    return signed(key, c.to(tl.int32, bitcast=True) < 0)


@triton.jit
def group_keys(scores, state, column, inside):  # type: ignore[no-untyped-def]
    """N:M: the smallest initial score has the largest, whatever the contribution's sign."""
    cost = tl.load(scores + column, mask=inside, other=0.0).to(tl.float32)
    kept = tl.load(state + column, mask=inside, other=0) == 1
    return tl.where(kept, magnitude(cost) ^ 0x7FFFFFFF, 0)


@triton.jit
def dearest_first(key):  # type: ignore[no-untyped-def]
    """Turns a prune key round: the largest cost has the largest key. It is its own inverse."""
    other = (tl.abs(key) ^ 0x7FFFFFFF) + 1
    return tl.where(key == 0, 0, signed(other, key < 0))
