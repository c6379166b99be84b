"""The error of every layer before and after refinement, as a picture."""

from __future__ import annotations

from pathlib import Path

from dsnot_exp.solve import LayerRecord

BEFORE, AFTER = "#c44e52", "#4c72b0"


def error_figure(records: list[LayerRecord], title: str, path: Path) -> Path | None:
    """Two panels, expected and relative error, one pair of marks per layer in walking order."""
    rows = [r for r in records if r.expected_before is not None]
    if not rows:
        return None
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = [("expected", "expected error: mean |e_r|")]
    if rows[0].relative_before is not None:
        panels.append(("relative", "relative error: ‖(W−Ŵ)X‖² / ‖WX‖²"))
    figure = Figure(
        figsize=(min(24, 4 + 0.22 * len(rows)), 3.2 * len(panels)), layout="constrained"
    )
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    places = list(range(len(rows)))
    for axis, (kind, label) in zip(axes, panels, strict=True):
        before = [getattr(r, f"{kind}_before") for r in rows]
        after = [getattr(r, f"{kind}_after") for r in rows]
        axis.vlines(places, before, after, color="0.75", linewidth=1)
        axis.plot(places, before, "o", color=BEFORE, markersize=4, label="before refinement")
        axis.plot(places, after, "o", color=AFTER, markersize=4, label="after")
        axis.set_ylabel(label)
        if min(before + after) > 0:
            axis.set_yscale("log")
        axis.grid(axis="y", alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].legend(frameon=False)
    axes[0].set_title(title)
    step = max(1, len(rows) // 60)
    axes[-1].set_xticks(places[::step], [r.layer for r in rows][::step], rotation=90, fontsize=7)
    figure.savefig(path, dpi=130)
    return path
