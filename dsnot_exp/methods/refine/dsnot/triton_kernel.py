"""DSnoT in one Triton kernel: one program per row, which stays on chip through all cycles.

It makes the same swaps as `cycles.py`, to the bit, for the paper's criteria: grow = mean_over_var
or mean, prune = signed_wanda. A row is two integers per weight, the keys of candidates.py:

    grow    of a pruned weight, the largest |c| / var^gamma has the largest magnitude
    prune   of a kept weight, the smallest |W^| * norm (N:M: initial score) has the largest
    sign    of the contribution; 0: not a candidate, or moved already

A cycle takes the maximum of each, and the leftmost column that has it. Per row, the weight, the
mask and three vectors are read once. Only `backend.py` imports this file.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

PER_WARP = 1024  # 32 weights, so 64 registers, per thread


@triton.jit
def largest(key, sign, column, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """-> (the largest sign * key, the leftmost column that has it). This is cheaper than one
    reduction of pairs, and only the key stays in registers between the two."""
    top = tl.max(key * sign, axis=0)
    return top, tl.min(tl.where(key == top * sign, column, BLOCK - 1), axis=0)


@triton.jit
def magnitude(value):  # type: ignore[no-untyped-def]
    """The bits of |value| as an integer."""
    return tl.abs(value).to(tl.int32, bitcast=True)


@triton.jit
def refine_row(  # type: ignore[no-untyped-def]
    weight, present, scores, mask, unit, divisor, norm, threshold,  # read
    new_mask, error, swaps,  # written; error: before -> after
    width, cycles,
    M: tl.constexpr, FLIP_STOPS: tl.constexpr, RUN_ON: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """M: 0 = unstructured. RUN_ON: a sign without candidates left continues with the
    other's, the most important first."""
    row = tl.program_id(0)
    start = row.to(tl.int64) * width  # a large layer has more than 2^31 weights
    column = tl.arange(0, BLOCK)
    inside = column < width
    kept = tl.load(mask + start + column, mask=inside, other=0) != 0
    w = tl.load(weight + start + column, mask=inside, other=0.0).to(tl.float32)
    v = tl.load(present + start + column, mask=inside, other=0.0).to(tl.float32)
    unit_k = tl.load(unit + column, mask=inside, other=0.0)
    divisor_k = tl.load(divisor + column, mask=inside, other=1.0)
    norm_k = tl.load(norm + column, mask=inside, other=0.0)

    c = w * unit_k
    grow = tl.where(kept | (norm_k <= 0) | (c == 0), 0, magnitude(tl.div_rn(c, divisor_k)) + 1)
    grow = tl.where(c < 0, -grow, grow)
    if M > 0:
        cost = tl.load(scores + start + column, mask=inside, other=0.0).to(tl.float32)
        prune = tl.where(kept, magnitude(cost) ^ 0x7FFFFFFF, 0)
    else:
        c = v * unit_k
        prune = tl.where(kept & (c != 0), magnitude(tl.abs(v) * norm_k) ^ 0x7FFFFFFF, 0)
        prune = tl.where(c < 0, -prune, prune)

    e = tl.load(error + row)
    limit = tl.load(threshold)
    positive_first = e > 0
    count = 0
    active = (tl.abs(e) > limit) & (count < cycles)
    while active:
        sign = tl.where(e < 0, -1, 1)
        best, g = largest(grow, sign, column, BLOCK)
        if M > 0:
            group = tl.where(column // M == g // M, prune, 0)
            cheapest, p = largest(group, 1, column, BLOCK)
        else:
            cheapest, p = largest(prune, -sign, column, BLOCK)
            if RUN_ON:
                other = prune * sign
                dearest = tl.where(other > 0, (other ^ 0x7FFFFFFF) + 1, 0)
                most, q = largest(dearest, 1, column, BLOCK)
                p = tl.where(cheapest > 0, p, q)
                cheapest = tl.maximum(cheapest, tl.where(cheapest > 0, 0, most))
        # Rounded to float32 and then widened: the compiler cannot fuse these into one operation.
        grown = tl.load(weight + start + g).to(tl.float32) * tl.load(unit + g)
        pruned = tl.load(present + start + p).to(tl.float32) * tl.load(unit + p)
        after = e + pruned.to(tl.float64) - grown.to(tl.float64)
        swap = (best > 0) & (cheapest > 0)
        passed = (best > 0) & (cheapest <= 0) & (M > 0)  # N:M: this group has nothing left
        if FLIP_STOPS:
            swap = swap & (after != 0) & ((after > 0) == positive_first)
        tl.store(new_mask + start + g, 1, mask=swap)
        tl.store(new_mask + start + p, 0, mask=swap)
        grow = tl.where((column == g) & (swap | passed), 0, grow)
        prune = tl.where((column == p) & swap, 0, prune)
        e = tl.where(swap, after, e)
        count += tl.where(swap, 1, 0)
        active = (swap | passed) & (tl.abs(e) > limit) & (count < cycles)
    tl.store(error + row, e)
    tl.store(swaps + row, count)


def refine_rows(
    weight: Tensor, present: Tensor, scores: Tensor, mask: Tensor, unit: Tensor, divisor: Tensor,
    norm: Tensor, error: Tensor, cycles: int, threshold: float, m: int, flip_stops: bool,
    run_on: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """`weight`, `present` (as the initializer left it), `scores`, `mask: (out, in)`;
    `unit`, `divisor`, `norm: (in,)`; `error: (out,)`; `m`: 0 = unstructured.

    -> (mask, error after, swaps).
    """
    rows, width = weight.shape
    matrices = [x.contiguous() for x in (weight, present, scores, mask.view(torch.uint8))]
    after, swaps = error.clone(), torch.zeros_like(error, dtype=torch.int64)
    new_mask = mask.clone(memory_format=torch.contiguous_format)
    block = triton.next_power_of_2(width)
    # In float64, as the error; a plain number would become a float32.
    limit = torch.full((1,), threshold, dtype=torch.float64, device=weight.device)
    refine_row[(rows,)](
        *matrices, unit, divisor, norm, limit, new_mask.view(torch.uint8), after, swaps,
        width, cycles, M=m, FLIP_STOPS=flip_stops, RUN_ON=run_on, BLOCK=block,
        num_warps=min(32, max(1, block // PER_WARP)), enable_fp_fusion=False,
    )  # fmt: skip
    return new_mask, after, swaps
