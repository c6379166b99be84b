"""Numbers and tables of the page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.benchmarks.gpu.bench import Row
from tests.benchmarks.timing import table

MILLI, MICRO = 1e3, 1e6
WITHOUT = {"failed": "no figure", "refused": "refused", "skipped": "skipped"}


def digits(value: float) -> str:
    """Three, without an exponent: 0.0123, 4.56, 789, 1234."""
    if value == 0 or abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.3g}" if abs(value) >= 1e-3 else f"{value:.5f}"


def gib(count: float) -> str:
    """Empty for 0, which stands for a CPU's device memory."""
    return digits(count / 2**30) if count else ""


def rows_of(found: dict[str, Any], group: str) -> list[Row]:
    """In the order of the subjects."""
    measured = [found["measured"].get(name, {"rows": []}) for name in of_group(found, group)]
    return [row for one in measured for row in one["rows"]]


def of_group(found: dict[str, Any], group: str) -> list[str]:
    """The names of a group's subjects, in their order; last those of an earlier call alone."""
    names = dict.fromkeys([*found["subjects"], *found["measured"]])
    return [name for name in names if name.split("/")[0] == group]


def section(
    title: str,
    text: str,
    head: Sequence[str],
    rows: list[list[str]],
    found: dict[str, Any],
    group: str,
) -> str:
    """Empty if nothing of the group was tried. What has no figure gets a line of its own."""
    empty = [""] * (len(head) - 2)
    for name in of_group(found, group):
        for kind, word in WITHOUT.items():
            if name in found[kind]:
                why = found[kind][name].replace("|", "/")
                rows.append([name.split("/", 1)[1], f"{word}: {why}", *empty])
    return f"### {title}\n\n{text}\n\n{table(head, rows)}" if rows else ""
