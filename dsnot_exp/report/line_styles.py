"""The colours, dashes and markers of the plot of perplexity against sparsity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dsnot_exp.report.composition import first
from dsnot_exp.report.plot_style import COLOURS
from dsnot_exp.report.tables.grid import Grid
from dsnot_exp.report.tables.grid_axes import Row

DASHES: tuple[Any, ...] = ("-", ":", "-.", (0, (5, 1, 1, 1, 1, 1)))
ALONE = "--"  # the initializer alone
MARKERS = "sD^vPX"  # of the N:M patterns
Panel = tuple[Grid, str, str]  # model, text


def styles_of(rows: Sequence[Row]) -> list[tuple[str, Any]]:
    """The colour and dash of each row: rows of one initializer share the colour."""
    hues = list(dict.fromkeys(first(row.methods) for row in rows))
    met: dict[str, int] = {}
    found = []
    for row in rows:
        hue = first(row.methods)
        alone = row.methods == hue and not row.options
        place = met.get(hue, 0)
        met[hue] = place + (0 if alone else 1)
        dash = ALONE if alone else DASHES[place % len(DASHES)]
        found.append((COLOURS[hues.index(hue) % len(COLOURS)], dash))
    return found


def patterns_of(panels: Sequence[Panel], rows: Sequence[Row]) -> dict[str, str]:
    """A marker for each N:M pattern that is drawn."""
    found = dict.fromkeys(
        column.budget
        for grid, *place in panels
        for column in grid.columns
        if ":" in column.budget and [column.model, column.name] == place
        and any(grid.cell(row, column).value is not None for row in rows)
    )  # fmt: skip
    return {pattern: MARKERS[place % len(MARKERS)] for place, pattern in enumerate(found)}
