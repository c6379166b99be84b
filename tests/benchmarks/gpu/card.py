"""The card alone: products, copies and launches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from statistics import median

import torch
from torch import Tensor

from dsnot_exp.methods.gram import product
from dsnot_exp.utils.errors import first_line
from tests.benchmarks.gpu.bench import Bench, Row, Subject
from tests.benchmarks.gpu.work import Rates
from tests.benchmarks.timing import short_calls

WITH_TF32, SUMMED = "float32, TF32 allowed", "bfloat16, result in float32"


@contextmanager
def precision(name: str) -> Iterator[None]:
    """highest: no TF32, which is torch's default; high: TF32 where the card has it"""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(name)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def products(bench: Bench) -> list[Row]:
    """Square products in each dtype. Random numbers: on zeros a card draws less power."""
    size = bench.sizes.product
    a, b = (torch.randn(size, size, device=bench.device) for _ in range(2))
    kinds: dict[str, tuple[str, torch.dtype, Callable[[Tensor, Tensor], object]]] = {
        "bfloat16": ("highest", torch.bfloat16, torch.matmul),
        "float16": ("highest", torch.float16, torch.matmul),
        SUMMED: ("highest", torch.bfloat16, product),
        "float32": ("highest", torch.float32, torch.matmul),
        WITH_TF32: ("high", torch.float32, torch.matmul),
    }
    rows = []
    for what, (level, dtype, multiply) in kinds.items():
        pair = a.to(dtype), b.to(dtype)
        with precision(level):
            found = timed(bench, partial(multiply, *pair))
        rows.append({"what": what, "size": size, "operations": 2 * size**3, **found})
    return rows


def copies(bench: Bench) -> list[Row]:
    """Bytes that are read and written on the device, and those that cross to it and back."""
    count, device = bench.sizes.copied, bench.device
    here, there = (torch.ones(count, dtype=torch.uint8, device=device) for _ in range(2))
    plain = torch.ones(count, dtype=torch.uint8)
    rows: list[Row] = [
        {"what": "on the device, read and written", "bytes": 2 * count}
        | timed(bench, lambda: there.copy_(here)),
        {"what": "memory to device", "bytes": count} | timed(bench, lambda: here.copy_(plain)),
    ]
    try:
        pinned = plain.pin_memory()
    except RuntimeError as error:
        return [*rows, {"what": "pinned memory to device", "refused": first_line(error)}]
    for what, to, of in (
        ("pinned memory to device", here, pinned),
        ("device to pinned memory", pinned, here),
    ):
        run = partial(to.copy_, of, non_blocking=True)
        rows.append({"what": what, "bytes": count} | timed(bench, run))
    return rows


def launches(bench: Bench) -> list[Row]:
    """A small operation after the other: what one costs when the device has nothing to do."""
    small = torch.ones(64, device=bench.device)
    return [{"what": "launch of a small operation"} | timed(bench, lambda: small.add_(1))]


def timed(bench: Bench, run: Callable[[], object]) -> Row:
    seconds = short_calls(run, bench.device)
    return {"seconds": seconds, "median": median(seconds)}


def rates(measured: dict[str, list[Row]], dtype: str) -> Rates:
    """From the rows of the subjects; what is missing keeps its default."""
    known = Rates()

    def of(subject: str, what: str, amount: str, default: float) -> float:
        for row in measured.get(subject, []):
            if row["what"] == what and "median" in row:
                return float(row.get(amount, 1) / row["median"])
        return default

    return Rates(
        products=of("card/products", dtype, "operations", known.products),
        single=of("card/products", "float32", "operations", known.single),
        copies=of("card/copies", "on the device, read and written", "bytes", known.copies),
        disk=of("streamed/disk", "from disk", "bytes", known.disk),
        launch=1 / of("card/launches", "launch of a small operation", "", 1 / known.launch),
    )


SUBJECTS = [
    Subject("card/products", products),
    Subject("card/copies", copies),
    Subject("card/launches", launches),
]
