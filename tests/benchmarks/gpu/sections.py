"""The sections of the page: what is measured of the card and of single layers."""

from __future__ import annotations

from typing import Any

from tests.benchmarks.comparing import percent
from tests.benchmarks.gpu.bench import Row
from tests.benchmarks.gpu.cells import MICRO, MILLI, digits, gib, rows_of, section

Found = dict[str, Any]  # the content of gpu.json


def card(found: Found) -> str:
    rows = []
    for row in rows_of(found, "card"):
        if "refused" in row:
            rows.append([f"copy: {row['what']}", "refused", "", ""])
        elif "operations" in row:
            what = f"{row['what']}, {row['size']} x {row['size']} matrices"
            rows.append([f"product: {what}", *rate(row, "operations", "TFLOP/s", 1e12)])
        elif "bytes" in row:
            rows.append([f"copy: {row['what']}", *rate(row, "bytes", "GB/s", 1e9)])
        else:
            rows.append([row["what"], f"{digits(MICRO * row['median'])} µs", "", ""])
    level = found["float32_matmul_precision"]
    text = (
        f"Float32 products are torch's own, at its matmul precision `{level}`, here and in all "
        f"other tables, but where TF32 is allowed.{refusal(rows_of(found, 'card'))}"
    )
    head = ["", "rate", "ms", "slowest and fastest, ms"]
    return section("The card", text, head, rows, found, "card")


def refusal(rows: list[Row]) -> str:
    """The reasons why there are cells without a figure."""
    reasons = dict.fromkeys(row["refused"] for row in rows if "refused" in row)
    return f" Refused: {'; '.join(reasons)}" if reasons else ""


def rate(row: Row, amount: str, unit: str, scale: float) -> list[str]:
    first, last = MILLI * max(row["seconds"]), MILLI * min(row["seconds"])
    value = f"{digits(row[amount] / row['median'] / scale)} {unit}"
    return [value, digits(MILLI * row["median"]), f"{digits(first)}, {digits(last)}"]


def kernel(found: Found) -> str:
    """One line per width and pattern, over dtypes and variants."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows_of(found, "kernel"):
        groups.setdefault((row["kernel"], row["width"], row["pattern"]), []).append(row)
    rows = [
        [
            f"{name}, {some[0]['rows']} x {width}, {pattern}",
            " and ".join(sorted({row["dtype"] for row in some})),
            str(sum(row["swaps"] for row in some)),
            str(sum(row["rows"] for row in some)),
            str(sum(row["unequal_rows"] for row in some)),
        ]
        for (name, width, pattern), some in groups.items()
    ]
    text = (
        "Each layer is refined by `refine=dsnot` and `refine=dsnot_official`. A row differs if its "
        "mask, its number of swaps or a bit of its error does."
    )
    if rows:
        unequal = sum(row["unequal_rows"] for row in rows_of(found, "kernel"))
        text += f" **{unequal} rows differ.**" if unequal else " No row differs."
    head = ["kernel, layer, pattern", "weights", "swaps", "rows", "rows that differ"]
    title = "DSnoT's kernel against tensor operations"
    return section(title, text, head, rows, found, "kernel")


def masks(found: Found) -> str:
    rows = [
        [
            f"{row['method']}, {row['dtype']}",
            percent(row["unequal_first_block"], row["entries_first_block"]),
            percent(row["unequal"], row["entries"]),
            str(row["unequal"]),
            str(row["entries"]),
        ]
        for row in rows_of(found, "masks")
    ]
    text = (
        "A small random Llama is made sparse on the device and on the CPU, from the same weights "
        "and tokens. Sums are rounded in another order, so that near ties may fall the other way."
    )
    head = ["method", "equal entries, first block", "all blocks", "entries that differ", "of"]
    return section("Masks against those of the CPU", text, head, rows, found, "masks")


def layer(found: Found) -> str:
    rows, first = [], dict[str, float]()
    for row in rows_of(found, "layer"):
        where = f"{row['rows']} x {row['cols']}, {row['pattern']}"
        speed = first.setdefault(where, row["median"]) / row["median"]
        cells = [digits(MILLI * row["median"]), f"{speed:.1f}", f"{100 * row['rows_alike']:.1f} %"]
        rows.append([f"{where}: {row['way']}", *cells, gib(row["peak_device_bytes"])])
    text = (
        "DSnoT on Wanda's mask, by the clock, with one wait for the device at the end. The "
        "speed-up is over the first way of each layer and pattern."
    )
    head = [
        "layer, pattern, way", "ms", "speed-up", "rows with the first way's mask",
        "peak on the device, GiB",
    ]  # fmt: skip
    return section("DSnoT on one layer", text, head, rows, found, "layer")


def two_of_four(found: Found) -> str:
    rows = []
    for row in rows_of(found, "2:4"):
        cells = [f"{row['rows']} x {row['cols']}, {row['tokens']}", digits(MICRO * row["median"])]
        if "refused" in row:
            rows.append([*cells, "refused", ""])
            continue
        speed = f"{row['median'] / row['sparse_median']:.2f}"
        rows.append([*cells, digits(MICRO * row["sparse_median"]), speed])
    text = (
        "x W^T with a 2:4 weight in torch's semi-structured form, against the same dense weight. "
        "Several weights take turns, so that they come from memory and not from the cache."
        f"{refusal(rows_of(found, '2:4'))}"
    )
    head = ["weight, tokens", "dense, µs", "2:4, µs", "speed-up"]
    return section("Products with 2:4 weights", text, head, rows, found, "2:4")
