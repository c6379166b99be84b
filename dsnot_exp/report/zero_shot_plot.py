"""The plot of zero-shot accuracy: bars by task, one per composition, with their errors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dsnot_exp.report.plot_style import COLOURS, INK, Drawn, canvas, legend
from dsnot_exp.report.runs import Run
from dsnot_exp.report.tables.grid import Grid, grids
from dsnot_exp.report.tables.grid_axes import Column, Row
from dsnot_exp.report.tables.table import Cell
from dsnot_exp.results.method_names import pretty

MOST = {"panels": 4, "bars": 7}
DENSE = "#6b6b6b"  # seen on white and on the dark page
Panel = tuple[Grid, str, str]  # model, sparsity


def zero_shot(runs: Sequence[Run]) -> Drawn:
    """A panel per model and sparsity. None if no run has a task."""
    panels = [
        (grid, *place)
        for grid in grids(runs, "accuracy")
        for place in dict.fromkeys((c.model, c.budget) for c in grid.columns)
    ]
    if not panels:
        return None
    shown = panels[: MOST["panels"]]
    every = list(dict.fromkeys(row for grid, _, _ in shown for row in grid.rows))
    rows = every[: MOST["bars"]]
    figure, axes = canvas(len(shown), 1, 7.0, 2.0 * len(shown) + 0.3)
    for axis, panel in zip(axes.flat, shown, strict=True):
        _draw(axis, panel, rows)
    legend(figure, axes, 3)
    return "zero_shot", _caption(shown, panels, rows, every), figure


def _draw(axis: Any, panel: Panel, rows: Sequence[Row]) -> None:
    grid, model, budget = panel
    columns = [c for c in grid.columns if (c.model, c.budget) == (model, budget)]
    own = [row for row in rows if any(grid.cell(row, c).value is not None for c in columns)]
    bars: list[tuple[str, str, list[Cell]]] = [
        ("Dense", DENSE, [grid.dense[model, column.name] for column in columns])
    ]
    for row in own:
        colour = COLOURS[list(rows).index(row) % len(COLOURS)]
        bars.append((pretty(row.name), colour, [grid.cell(row, column) for column in columns]))
    bars = [bar for bar in bars if any(cell.value is not None for cell in bar[2])]
    width = 0.8 / max(1, len(bars))
    for place, (label, colour, cells) in enumerate(bars):
        shift = (place - (len(bars) - 1) / 2) * width
        known = [(x + shift, cell) for x, cell in enumerate(cells) if cell.value is not None]
        axis.bar([x for x, _ in known], [cell.value for _, cell in known], 0.92 * width,
                 color=colour, label=label)  # fmt: skip
        errors = [(x, cell) for x, cell in known if cell.spread]
        axis.errorbar([x for x, _ in errors], [cell.value for _, cell in errors],
                      [cell.spread for _, cell in errors], fmt="none", ecolor=INK,
                      elinewidth=0.9, capsize=1.5)  # fmt: skip
    axis.set_xticks(range(len(columns)), _tasks(columns))
    axis.set(ylim=(0, 100), ylabel="accuracy (%)", title=f"{model}, {budget}")
    axis.set_axisbelow(True)


def _tasks(columns: Sequence[Column]) -> list[str]:
    """Long names are broken at their underscores."""
    return [c.name if len(c.name) <= 9 else c.name.replace("_", "_\n") for c in columns]


def _caption(
    shown: Sequence[Panel], panels: Sequence[Panel], rows: Sequence[Row], every: Sequence[Row]
) -> str:
    seeds = any(cell.n > 1 for grid, _, _ in shown for cell in grid.cells.values())
    text = "Zero-shot accuracy. Error bars: the standard error over the items of a task"
    text += "; with several seeds, the sample standard deviation over them." if seeds else "."
    if len(shown) < len(panels):
        text += f" Shown: {len(shown)} of {len(panels)} panels."
    if len(rows) < len(every):
        text += f" Shown: {len(rows)} of {len(every)} compositions."
    return text
