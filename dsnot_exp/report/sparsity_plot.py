"""The plot of perplexity against sparsity, with the dense model and the N:M patterns."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from dsnot_exp.methods.notation import pruned_share
from dsnot_exp.report.composition import first
from dsnot_exp.report.line_styles import ALONE, Panel, patterns_of, styles_of
from dsnot_exp.report.plot_style import Drawn, canvas, legend, logarithmic
from dsnot_exp.report.runs import Run
from dsnot_exp.report.tables.grid import Grid, grids
from dsnot_exp.report.tables.grid_axes import Column, Row
from dsnot_exp.report.tables.table import Cell
from dsnot_exp.results.method_names import pretty

BESIDE = 0.03  # of the range of sparsities: how far N:M stand from the share that they prune
MOST = {"panels": 4, "lines": 12}
WIDE = 8  # a log scale, if the largest value is so many times the smallest


def sparsity(runs: Sequence[Run]) -> Drawn:
    """A line per composition, a panel per model and text. None if each has one sparsity only."""
    panels = [panel for grid in grids(runs) for panel in _panels(grid)]
    if not panels:
        return None
    shown = panels[: MOST["panels"]]
    every = list(dict.fromkeys(row for grid, _, _ in shown for row in grid.rows))
    rows = every[: MOST["lines"]]
    styles = dict(zip(rows, styles_of(rows), strict=True))
    patterns = patterns_of(shown, rows)
    columns = min(2, len(shown))
    lines = -(-len(shown) // columns)
    height = 2.6 * lines + 0.4
    figure, axes = canvas(lines, columns, 3.4 * columns + (1.2 if columns == 1 else 0), height)
    for axis, panel in zip(axes.flat, shown, strict=False):
        _draw(axis, panel, styles, patterns)
    for axis in axes.flat[len(shown) :]:
        axis.set_visible(False)
    for axis in axes[:, 0]:
        axis.set_ylabel("perplexity")
    handles = [
        Line2D([], [], color="#555555", marker=marker, linestyle="", markerfacecolor="none",
               label=pattern)
        for pattern, marker in patterns.items()
    ]  # fmt: skip
    legend(figure, axes, 2, handles)
    return "perplexity_sparsity", _caption(shown, panels, rows, every), figure


def _caption(shown: list[Panel], panels: list[Panel], rows: list[Row], every: list[Row]) -> str:
    cells = [grid.cell(row, c) for grid, *place in shown for row in rows
             for c in grid.columns if [c.model, c.name] == place]  # fmt: skip
    text = "Perplexity against sparsity."
    if any(cell.n > 1 for cell in cells):
        text += " Mean over seeds; bars: sample standard deviation."
    if any(row.methods == first(row.methods) for row in rows):
        text += " Dashed and hollow: the initializer alone."
    if len(shown) < len(panels):
        text += f" Shown: {len(shown)} of {len(panels)} panels."
    if len(rows) < len(every):
        text += f" Shown: {len(rows)} of {len(every)} lines."
    return text


def _panels(grid: Grid) -> list[Panel]:
    places = dict.fromkeys((column.model, column.name) for column in grid.columns)
    return [
        (grid, *place)
        for place in places
        if len({c.budget for c in grid.columns if (c.model, c.name) == place}) > 1
    ]


def _draw(
    axis: Any, panel: Panel, styles: dict[Row, tuple[str, Any]], patterns: dict[str, str]
) -> None:
    grid, model, name = panel
    columns = [c for c in grid.columns if (c.model, c.name) == (model, name)]
    places = {column: _share(column) for column in columns if column.budget != "?"}
    reach = max(places.values()) - min(places.values()) or 20.0
    values: list[float] = []
    for row, (colour, dash) in styles.items():
        known = [(c, cell) for c in places if (cell := grid.cell(row, c)).value is not None]
        points = [(places[c], cell) for c, cell in known if ":" not in c.budget]
        style = {"color": colour, "markersize": 3.5, "capsize": 2, "elinewidth": 0.9}
        if points:
            lines = {"linestyle": dash, "marker": "o", "label": pretty(row.name)}
            _bars(axis, sorted(points, key=lambda p: p[0]), {**style, **lines})
        filled = colour if dash != ALONE else "none"
        for column, cell in (pair for pair in known if ":" in pair[0].budget):
            # Beside the sparsity, and beside each other: 2:4 and 4:8 prune the same share.
            place = list(patterns).index(column.budget)
            shift = reach * BESIDE * (1 + place // 2) * (1 if place % 2 else -1)
            marks = {"marker": patterns[column.budget], "markerfacecolor": filled, "markersize": 5,
                     "linestyle": "", "label": None if points else pretty(row.name)}  # fmt: skip
            _bars(axis, [(places[column] + shift, cell)], {**style, **marks})
        values += [cell.value for _, cell in known if cell.value is not None]
    dense = grid.dense[model, name].value
    if dense is not None:
        values.append(dense)
        axis.axhline(dense, color="#7f7f7f", linewidth=1, linestyle=(0, (1, 1)), label="Dense")
    if max(values) > WIDE * min(values):
        logarithmic(axis, values)
    axis.set_xticks(sorted(set(places.values())))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set(title="\n".join(textwrap.wrap(_title(model, name), 40)), xlabel="sparsity (%)")


def _title(model: str, name: str) -> str:
    return model if model == name else f"{model}, {name}"


def _share(column: Column) -> float:
    if ":" not in column.budget:
        return float(column.budget.removesuffix(" %"))
    kept, of = column.budget.split(":")
    return 100 * pruned_share(int(kept), int(of))


def _bars(axis: Any, points: Sequence[tuple[float, Cell]], style: dict[str, Any]) -> None:
    """The means, with a bar where there are several seeds."""
    spreads = [(cell.spread if cell.n > 1 else None) or 0.0 for _, cell in points]
    bars = spreads if any(spreads) else None
    axis.errorbar([x for x, _ in points], [cell.value for _, cell in points], bars, **style)
