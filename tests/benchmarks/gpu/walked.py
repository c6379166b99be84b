"""The sections of the page: the methods on whole models."""

from __future__ import annotations

from typing import Any

from dsnot_exp.utils.batch_size import per_forward
from tests.benchmarks.gpu.bench import Row
from tests.benchmarks.gpu.cells import digits, gib, rows_of, section
from tests.benchmarks.gpu.passes import FLOOR
from tests.benchmarks.gpu.work import forward

Found = dict[str, Any]  # the content of gpu.json

PHASES = ("load", "calibrate", "prune", "refine", "reconstruct")
LEAST = 0.002  # of a block's seconds; a phase that takes less is left out
PRESETS = {
    "wanda+dsnot": "`dsnot`",
    "wanda+moments": "`fast`",
    "alps+target+block": "`best`, without its allocation",
    "allocate=fisher": "`best`'s allocation",
}
READ = (
    "`load` is what the walk waits for the disk and for the copy to the device, for the floor too: "
    "the next block is read while one is solved. The system is asked to drop the files from its "
    "cache before each pass. Sparse weights are not written."
)
MADE = "`load` is the making of a block's weights on the device, for the floor too."
WHOLE = """

- s per block: of a block that is neither the first nor the last, the median over such blocks and
  passes. The released code and the allocation are timed as a whole: their mean over all blocks.
- floor: two forwards of all tokens through a block. A method can be under it, because statistics
  need no more than the inputs of a block's last linear.
- other: the measurement of errors, and the packing of masks.
- all blocks: **computed, not measured**: the seconds of a pass, and those of a block for each block
  that the pass left out."""


def whole(found: Found) -> str:
    options, rows = found["options"], rows_of(found, "whole")
    asked = f"{options['sparsity']:.0%} sparse, at most {options['max_cycles']} cycles of DSnoT"
    text = f"{asked}, `relative_error=sample` unless stated.{WHOLE}{of_products(found, rows)}"
    return methods(found, "whole", "whole on the device", text)


def of_products(found: Found, rows: list[Row]) -> str:
    """The floor's operations per second, beside those of one large product."""
    floor = next((row for row in rows if row["method"] == FLOOR), None)
    dtype = found["options"]["dtype"]
    large = next((row for row in rows_of(found, "card") if row["what"] == dtype), None)
    if floor is None or large is None:
        return ""
    done = 2 * forward(floor["shape"], floor["sequences"], floor["tokens"]).products
    share = done / floor["median"] / (large["operations"] / large["median"])
    large_one = f"the rate of the large {dtype} product"
    return f"\n- From its operations, the floor runs at {share:.1%} of {large_one} (computed)."


def streamed(found: Found) -> str:
    disk = [row for row in rows_of(found, "streamed") if "bytes" in row]
    rates = [f"{digits(row['bytes'] / row['median'] / 1e9)} GB/s {row['what']}" for row in disk]
    speed = f" Reading the checkpoint alone: {' and '.join(rates)}." if rates else ""
    return methods(found, "streamed", "streamed from disk", READ + speed)


def made(found: Found) -> str:
    return methods(found, "made", "with blocks made on the fly", MADE)


def methods(found: Found, group: str, where: str, text: str) -> str:
    rows = [row for row in rows_of(found, group) if "method" in row]
    phases = [phase for phase in PHASES if any(spent(row, phase) for row in rows)]
    head = [
        "method", "s per block", "over the floor", *phases, "other", "all blocks, computed, s",
        "peak on the device, GiB", "peak resident, GiB", "passes",
    ]  # fmt: skip
    floor = next((row["median"] for row in rows if row["method"] == FLOOR), None)
    title = f"A Llama {where}"
    if rows:
        title = f"A Llama of shape {rows[0]['shape'].upper()}, {where}"
        text = f"{measured_on(rows)}. {text}"
    return section(title, text, head, [cells(row, floor, phases) for row in rows], found, group)


def measured_on(rows: list[Row]) -> str:
    first = rows[0]
    tokens = f"{first['sequences']} x {first['tokens']} random tokens"
    return f"{first['blocks']} of {first['of']} blocks, {tokens}, {first['dtype']}"


def spent(row: Row, phase: str) -> bool:
    """Whether a phase counts for anything."""
    return bool(row.get("phases", {}).get(phase, 0) > LEAST * row["median"])


def cells(row: Row, floor: float | None, phases: list[str]) -> list[str]:
    method, seconds = row["method"], row["median"]
    name = f"{method} ({PRESETS[method]})" if method in PRESETS else method
    if "batch" in row and row["batch"] < min(row["sequences"], per_forward(row["tokens"])):
        name += f"; {row['batch']} sequences at a time, after out of memory"
    over = "" if floor is None or method == FLOOR else f"{100 * (seconds / floor - 1):+.0f} %"
    shown = [digits(row["phases"][phase]) if spent(row, phase) else "" for phase in phases]
    rest = seconds - sum(row["phases"][phase] for phase in phases) if "phases" in row else 0
    device, resident = row["peak_device_bytes"], row["peak_rss_bytes"]
    return [
        name, digits(seconds), over, *shown, digits(rest) if rest > LEAST * seconds else "",
        digits(row["computed_seconds"]), gib(device), gib(resident),
        str(len(row["whole_seconds"])),
    ]  # fmt: skip
