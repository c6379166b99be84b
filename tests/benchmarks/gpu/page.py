"""The page that goes into docs/performance.md as it is: a table for each group of subjects."""

from __future__ import annotations

from typing import Any

from dsnot_exp.utils.words import elapsed, size
from tests.benchmarks.gpu import sections, walked
from tests.benchmarks.gpu.cells import WITHOUT

DRY = (
    "**A dry run on tiny shapes.** It shows that everything runs; its figures say nothing about "
    "any machine."
)
SECTIONS = (
    sections.card, walked.whole, walked.streamed, walked.made, sections.layer,
    sections.two_of_four, sections.kernel, sections.masks,
)  # fmt: skip
TAKEN = 2 << 30  # bytes; less is what a driver and a desktop take


def page(found: dict[str, Any]) -> str:
    """found: the content of gpu.json; see record.py"""
    parts = [
        "## On a GPU",
        DRY if found["options"]["tiny"] else "",
        "\n".join(f"- {name}: {value}" for name, value in facts(found).items() if value),
        f"    {found['command']}",
        *(section(found) for section in SECTIONS),
        *remarks(found),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def facts(found: dict[str, Any]) -> dict[str, str]:
    """What the figures were measured on."""
    machine = found["machine"]
    card = [machine["device"]]
    if machine["device_bytes"]:
        card.append(size(machine["device_bytes"]))
    if machine["driver"]:
        card.append(f"driver {machine['driver']}")
    memory, cores = size(machine["memory_bytes"]), f"{machine['cores']} cores"
    days = sorted({one["measured_at"][:10] for one in found["measured"].values()})
    return {
        "device": ", ".join(card),
        "host": ", ".join([machine["processor"], cores, memory, machine["system"]]),
        "versions": ", ".join(f"{k} {v}" for k, v in found["versions"].items() if v),
        "not installed": ", ".join(found["packages_missing"]),
        "measured": f"{' and '.join(days) or 'nothing yet'}, in {elapsed(found['seconds'])}",
    }


def remarks(found: dict[str, Any]) -> list[str]:
    """What a reader has to know of the figures, and what is missing."""
    told = []
    if found["machine"]["device_bytes"] and found["used_by_others_bytes"] > TAKEN:
        told.append(
            f"**When the last call began, {size(found['used_by_others_bytes'])} of the device's "
            "memory were taken by other processes.** They may have slowed it down."
        )
    if older := [name for name, one in found["measured"].items() if one["code"] != found["code"]]:
        told.append(f"Measured with another version of the code: {listed(older)}.")
    tried = {name for kind in ("measured", *WITHOUT) for name in found[kind]}
    if absent := [name for name in found["subjects"] if name not in tried]:
        told.append(f"Not measured: {listed(absent)}.")
    if found["running"] is not None:
        told.append(f"The process was in `{found['running']}` when this was written.")
    return told


def listed(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
