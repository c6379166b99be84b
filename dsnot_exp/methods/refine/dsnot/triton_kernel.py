"""DSnoT in one Triton kernel: one program of a single warp per row, all cycles in one launch.

It makes the same swaps as `cycles.py`, to the bit, for the paper's criteria: grow = mean_over_var
or mean, prune = signed_wanda. A weight has a grow key or a prune key (triton_keys.py).

A row is divided into chunks of columns. The first pass reads the row once and keeps each chunk's
largest key of either sign, its tops, in registers. A cycle finds the leftmost chunk with the
largest top, computes the chunk's keys again, finds the leftmost column that has the top, and
updates the chunk's tops. So any width fits, and a cycle costs a wide row no more than a narrow one.
KiB read per row in bfloat16, most of it the vectors, which all rows share:

    width                                4096   5120   8192   11008   13824   14336   28672
    first pass, 15 bytes per weight        60     75    120     161     203     210     420
    a cycle                               6.5 at any of these: 256 keys of 15 and 256 of 11 bytes
    a cycle that computed every key       104    130    208     280     351     364     728

Only `backend.py` imports this file.
"""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from dsnot_exp.methods.refine.dsnot.triton_keys import (
    dearest_first,
    group_keys,
    grow_keys,
    prune_keys,
    signed,
    values,
)

CHUNK = 256  # 8 columns per thread of a warp of 32
LAUNCH = {"num_warps": 1, "enable_fp_fusion": False}


@triton.jit
def leftmost(chosen, SIZE: tl.constexpr):  # type: ignore[no-untyped-def]
    """The first place that is chosen, or the last place if none is."""
    return tl.min(tl.where(chosen, tl.arange(0, SIZE), SIZE - 1), axis=0)


@triton.jit
def entered(tops, key, chunk, CHUNKS: tl.constexpr):  # type: ignore[no-untyped-def]
    """`tops: (2 * CHUNKS,)`: each chunk's largest key above 0, then each one's largest below."""
    place = tl.arange(0, 2 * CHUNKS)
    tops = tl.where(place == chunk, tl.max(key, axis=0), tops)
    return tl.where(place == chunk + CHUNKS, tl.max(-key, axis=0), tops)


@triton.jit
def largest(tops, below, CHUNKS: tl.constexpr):  # type: ignore[no-untyped-def]
    """-> (the largest top above 0, or below 0; the leftmost chunk that has it)."""
    place = tl.arange(0, 2 * CHUNKS)
    tops = tl.where((place >= CHUNKS) == below, tops, 0)
    top = tl.max(tops, axis=0)
    return top, leftmost(tops == top, 2 * CHUNKS) % CHUNKS


@triton.jit
def refine_row(  # type: ignore[no-untyped-def]
    weight, present, scores, unit, divisor, norm, threshold,  # read
    state, error, swaps,  # written; error: before -> after
    width, cycles,
    M: tl.constexpr, GROUP: tl.constexpr, FLIP_STOPS: tl.constexpr, RUN_ON: tl.constexpr,
    CHUNK: tl.constexpr, CHUNKS: tl.constexpr,
):  # fmt: skip
    """M: 0 = unstructured; GROUP: the power of two from M on. RUN_ON: a sign without candidates
    left continues with the other's, the most important first. `state`: see triton_keys.py.
    """
    row = tl.program_id(0)
    start = row.to(tl.int64) * width  # a large layer has more than 2^31 weights
    weight, present, scores, state = weight + start, present + start, scores + start, state + start
    lane = tl.arange(0, CHUNK)
    grow = tl.zeros([2 * CHUNKS], tl.int32)
    prune = tl.zeros([2 * CHUNKS], tl.int32)
    dear = tl.zeros([2 * CHUNKS], tl.int32)
    for chunk in range(tl.cdiv(width, CHUNK)):
        column = chunk * CHUNK + lane
        key = grow_keys(weight, state, unit, divisor, norm, column, width)
        grow = entered(grow, key, chunk, CHUNKS)
        if M == 0:
            key = prune_keys(present, state, unit, norm, column, width)
            prune = entered(prune, key, chunk, CHUNKS)
            if RUN_ON:
                dear = entered(dear, dearest_first(key), chunk, CHUNKS)

    e = tl.load(error + row)
    limit = tl.load(threshold)
    positive_first = e > 0
    count = 0
    active = (tl.abs(e) > limit) & (count < cycles)
    while active:
        below = e < 0
        best, chunk = largest(grow, below, CHUNKS)
        column = chunk * CHUNK + lane
        key = grow_keys(weight, state, unit, divisor, norm, column, width)
        g = chunk * CHUNK + leftmost(key == signed(best, below), CHUNK)
        grow = entered(grow, tl.where(column == g, 0, key), chunk, CHUNKS)
        if M > 0:
            member = tl.arange(0, GROUP)
            column = g // M * M + member
            key = group_keys(scores, state, column, (member < M) & (column < width))
            cheapest = tl.max(key, axis=0)
            p = g // M * M + leftmost(key == cheapest, GROUP)
        else:
            cheapest, chunk = largest(prune, below == 0, CHUNKS)
            wanted = signed(cheapest, below == 0)
            if RUN_ON:
                most, far = largest(dear, below, CHUNKS)
                wanted = tl.where(cheapest > 0, wanted, dearest_first(signed(most, below)))
                chunk = tl.where(cheapest > 0, chunk, far)
                cheapest = tl.where(cheapest > 0, cheapest, most)
            column = chunk * CHUNK + lane
            key = prune_keys(present, state, unit, norm, column, width)
            p = chunk * CHUNK + leftmost(key == wanted, CHUNK)
            key = tl.where(column == p, 0, key)
            prune = entered(prune, key, chunk, CHUNKS)
            if RUN_ON:
                dear = entered(dear, dearest_first(key), chunk, CHUNKS)
        swap = (best > 0) & (cheapest > 0)
        passed = (best > 0) & (cheapest <= 0) & (M > 0)  # N:M: this group has nothing left
        # Rounded to float32 and then widened: the compiler cannot fuse these into one operation.
        _, grown = values(weight, unit, g, swap)
        _, pruned = values(present, unit, p, swap)
        after = e + pruned.to(tl.float64) - grown.to(tl.float64)
        if FLIP_STOPS:
            swap = swap & (after != 0) & ((after > 0) == positive_first)
        tl.store(state + g, tl.where(swap, 3, 2), mask=swap | passed)
        tl.store(state + p, 2, mask=swap)
        # One thread has stored; in the next cycle all of them load. A load of this cycle that comes
        # too late does no harm: prune keys ask for 1, and g goes from 0 to 2 or 3; grow keys ask
        # for 0, and p goes from 1 to 2.
        tl.debug_barrier()
        e = tl.where(swap, after, e)
        count += tl.where(swap, 1, 0)
        active = (swap | passed) & (tl.abs(e) > limit) & (count < cycles)
    tl.store(error + row, e)
    tl.store(swaps + row, count)


def constants(width: int, m: int, flip_stops: bool, run_on: bool) -> dict[str, int]:
    """What the kernel is compiled for. A row wider than 2^16 has wider chunks, not more."""
    chunk = max(CHUNK, triton.next_power_of_2(math.isqrt(width - 1) + 1))
    return {
        "M": m, "GROUP": triton.next_power_of_2(max(1, m)),
        "FLIP_STOPS": flip_stops, "RUN_ON": run_on,
        "CHUNK": chunk, "CHUNKS": triton.next_power_of_2(triton.cdiv(width, chunk)),
    }  # fmt: skip


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
    matrices = [x.contiguous() for x in (weight, present, scores)]
    state = mask.clone(memory_format=torch.contiguous_format).view(torch.uint8)
    after, swaps = error.clone(), torch.zeros_like(error, dtype=torch.int64)
    # In float64, as the error; a plain number would become a float32.
    limit = torch.full((1,), threshold, dtype=torch.float64, device=weight.device)
    # Triton launches on the current device, which need not be the weight's.
    with torch.accelerator.device_index(weight.device.index):
        refine_row[(rows,)](
            *matrices, unit, divisor, norm, limit, state, after, swaps, width, cycles,
            **constants(width, m, flip_stops, run_on), **LAUNCH,
        )  # fmt: skip
    return state.bitwise_and_(1).view(torch.bool), after, swaps
