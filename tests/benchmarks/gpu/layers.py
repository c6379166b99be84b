"""One layer: its refinement in three ways, and its product with a 2:4 weight."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from statistics import median

import torch
from torch import Tensor
from torch.nn.functional import linear

from dsnot_exp.methods.patterns import NM, Unstructured
from dsnot_exp.methods.refine.dsnot import backend
from dsnot_exp.methods.refine.dsnot.method import DSnoT
from dsnot_exp.models.semi_structured import converted, unsupported, why_dense
from dsnot_exp.run.clock import Clock
from dsnot_exp.utils.errors import RunError, first_line
from tests.benchmarks.gpu.bench import Bench, Row, Subject
from tests.benchmarks.refiner import KERNEL, layer, ways
from tests.benchmarks.timing import rounds, short_calls

ROUNDS = 5
CACHED = 1 << 28  # bytes, more than a card's cache has


def refined(rows: int, cols: int, bench: Bench) -> list[Row]:
    """DSnoT on Wanda's mask, from the same statistics in every way."""
    weight, statistics = layer(rows, cols, bench.device)
    method, found = DSnoT(max_cycles=bench.max_cycles), list[Row]()
    for pattern in (Unstructured(bench.sparsity), NM(2, 4)):
        runs = ways(weight, statistics, pattern, method)
        name = backend.kernel(weight.device, weight.dtype)
        seconds = rounds(runs, ROUNDS)
        masks, peaks = dict[str, Tensor](), dict[str, int]()
        for way, run in runs.items():
            clock = Clock(bench.device)
            masks[way] = run()
            peaks[way] = clock.memory()["peak_device_bytes"]
        if backend.kernel(weight.device, weight.dtype) != name:  # it fell back: no figure of it
            seconds.pop(KERNEL)
            name = "failed"
        first = next(iter(masks.values()))
        for way, each in seconds.items():
            alike = (masks[way] == first).all(1).float().mean()
            found.append(
                {
                    "rows": rows,
                    "cols": cols,
                    "pattern": str(pattern),
                    "way": f"{way} ({name})" if way == KERNEL else way,
                    "seconds": each,
                    "median": median(each),
                    "rows_alike": float(alike),
                    "peak_device_bytes": peaks[way],
                }
            )
    return found


def multiplied(rows: int, cols: int, bench: Bench) -> list[Row]:
    """x W^T with a 2:4 weight, dense and in torch's semi-structured form. Several weights take
    turns, so that they come from memory and not from the card's cache."""
    dtype = getattr(torch, bench.dtype)
    fill_cache = -(-CACHED // (rows * cols * dtype.itemsize))
    count = min(64, fill_cache) if bench.on_accelerator else 2
    dense = [two_of_four(rows, cols, bench.device, dtype) for _ in range(count)]
    sparse = dense[:0]
    why = unsupported(bench.device) or why_dense(dtype, (rows, cols), -1)
    try:
        if not why:
            sparse = [converted(f"{rows} x {cols}", weight) for weight in dense]
    except RunError as error:
        why = str(error)
    return [product(tokens, dense, sparse, why, bench) for tokens in bench.sizes.batches]


def product(tokens: int, dense: list[Tensor], sparse: list[Tensor], why: str, bench: Bench) -> Row:
    """why: there are no sparse weights; else empty"""
    rows, cols = dense[0].shape
    x = torch.randn(tokens, cols, device=bench.device, dtype=dense[0].dtype)
    row: Row = {"rows": rows, "cols": cols, "tokens": tokens, "dtype": bench.dtype}
    row["seconds"] = short_calls(in_turn(x, dense), bench.device)
    row["median"] = median(row["seconds"])
    if why:
        return row | {"refused": why}
    try:
        seconds = short_calls(in_turn(x, sparse), bench.device)
    except RuntimeError as error:
        return row | {"refused": first_line(error)}
    return row | {"sparse_seconds": seconds, "sparse_median": median(seconds)}


def in_turn(x: Tensor, weights: list[Tensor]) -> Callable[[], object]:
    turns = itertools.cycle(weights)
    return lambda: linear(x, next(turns))


def two_of_four(rows: int, cols: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    weight = torch.randn(rows, cols, device=device).mul_(0.02)
    return (weight * NM(2, 4).mask(weight.abs())).to(dtype)


def subjects(bench: Bench) -> tuple[list[Subject], list[Subject]]:
    """The refinements, and the products."""
    matrices = bench.sizes.matrices
    return (
        [Subject(f"layer/{r} x {c}", partial(refined, r, c)) for r, c in matrices],
        [Subject(f"2:4/{r} x {c}", partial(multiplied, r, c)) for r, c in matrices],
    )
