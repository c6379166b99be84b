"""Plot style. SVGs have no background and take the page's text colour; PNGs are on white."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

INK = "#202428"  # the page replaces it with its text colour
STYLE = {
    "font.size": 9, "axes.labelsize": 9, "axes.titlesize": 9.5, "legend.fontsize": 8.5,
    "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.7,
    "axes.edgecolor": INK, "axes.labelcolor": INK, "text.color": INK, "xtick.color": INK,
    "ytick.color": INK, "legend.frameon": False, "svg.hashsalt": "dsnot_exp",
    "lines.linewidth": 1.4,
    "text.parse_math": False, "axes.titlelocation": "left",
}  # fmt: skip
COLOURS = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f", "#8c6d31",
)  # fmt: skip
Drawn = tuple[str, str, Canvas] | None  # name, caption, figure


def file_of(figure: Canvas, kind: str) -> bytes:
    """Encode a figure: an SVG without background and date, or a PNG on white."""
    buffer = io.BytesIO()
    clear = kind == "svg"
    meta = {"Date": None} if clear else None
    face = "none" if clear else "white"
    figure.savefig(buffer, format=kind, dpi=160, facecolor=face, metadata=meta)
    return buffer.getvalue()


def canvas(rows: int, columns: int, width: float, height: float) -> tuple[Canvas, Any]:
    figure = Canvas(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.set_facecolor("none")
        axis.grid(axis="y", color="#888888", alpha=0.25, linewidth=0.6)
    return figure, axes


def logarithmic(axis: Any, values: Sequence[float], of: str = "y") -> None:
    """Use a log scale with plain tick labels, if all values are positive. of: `x` or `y`"""
    if min(values) <= 0:
        return
    axis.set(**{f"{of}scale": "log"})
    ticks = axis.xaxis if of == "x" else axis.yaxis
    ticks.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=8))
    ticks.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ticks.set_minor_formatter(NullFormatter())
