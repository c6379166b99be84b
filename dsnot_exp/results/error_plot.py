"""Plots the error of every layer before and after refinement."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dsnot_exp.walk.record import LayerRecord

BEFORE, AFTER = "#c44e52", "#4c72b0"


def error_figure(records: list[LayerRecord], title: str, path: Path) -> Path | None:
    """Plot expected and relative error, one pair of points per layer in model order. Returns None
    if no layer was refined."""
    rows = [r for r in records if r.expected_before is not None]
    if not rows:
        return None
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = [("expected", "expected error\nmean |e_r|")]
    if rows[0].relative_before is not None:
        panels.insert(0, ("relative", "relative error\n‖(W−Ŵ)X‖² / ‖WX‖²"))
    size = (min(24, 4 + 0.22 * len(rows)), 1.6 + 2.4 * len(panels))
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for axis, (kind, label) in zip(axes, panels, strict=True):
        _panel(axis, rows, kind)
        axis.set_ylabel(label)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=2, frameon=False)
    figure.suptitle(title, x=0.01, ha="left", fontsize=10)
    prefix = rows[0].layer.rpartition(".")[0]
    while not all(r.layer.startswith(prefix) for r in rows):
        prefix = prefix.rpartition(".")[0]
    names = [r.layer.removeprefix(f"{prefix}.") for r in rows]
    step = max(1, len(rows) // 60)
    axes[-1].set_xticks(range(len(rows))[::step], names[::step], rotation=90, fontsize=7)
    axes[-1].set_xlabel(prefix)
    figure.savefig(path, dpi=130)
    return path


def _panel(axis: Any, rows: list[LayerRecord], kind: str) -> None:
    before = [getattr(r, f"{kind}_before") for r in rows]
    after = [getattr(r, f"{kind}_after") for r in rows]
    places = range(len(rows))
    axis.vlines(places, before, after, color="0.75", linewidth=1)
    axis.plot(places, before, "o", color=BEFORE, markersize=4, label="before refinement")
    axis.plot(places, after, "o", color=AFTER, markersize=4, label="after")
    if min(before + after) > 0:
        axis.set_yscale("log")
    axis.grid(axis="y", alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)
