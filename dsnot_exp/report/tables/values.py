"""The values of an axis of a table, in order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dsnot_exp.report.runs import Run, in_order
from dsnot_exp.report.tables.layouts import CRITERIA, METHODS, MODELS, Layout


def values(layout: Layout, runs: Sequence[Run], axis: str) -> list[Any]:
    """First those that the layout always shows, then the others that these runs have."""
    seen = [run.axis(axis) for run in runs]
    first: Sequence[Any] = layout.order.get(axis, ())
    if any("{}" in str(value) for value in first):
        initializers = in_order([run.axis("initializer") for run in runs])
        first = [value.format(name) for name in initializers for value in first]
    usual = CRITERIA if axis.startswith("refine.") else (*MODELS, *METHODS)
    known = [value for value in usual if value in seen and value not in first]
    found = in_order(seen, [*first, *known])
    sort = layout.sort.get(axis)
    return sorted(found, key=sort) if sort else found
