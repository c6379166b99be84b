"""Plot style. SVGs have no background and take the page's text colour; PNGs are on white."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

KINDS = ("png", "svg", "pdf")
INK = "#202428"  # the page replaces it with its text colour
STYLE = {
    "font.size": 9, "axes.labelsize": 9, "axes.titlesize": 9.5, "legend.fontsize": 8.5,
    "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.7,
    "axes.edgecolor": INK, "axes.labelcolor": INK, "text.color": INK, "xtick.color": INK,
    "ytick.color": INK, "legend.frameon": False, "svg.hashsalt": "dsnot_exp",
    "lines.linewidth": 1.4, "pdf.fonttype": 42,
    "text.parse_math": False, "axes.titlelocation": "left",
}  # fmt: skip
COLOURS = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f", "#8c6d31",
)  # fmt: skip
KEY, LETTER, LINE = 0.55, 0.075, 0.2  # of a legend, in inches: a key, a letter, a line's height
Drawn = tuple[str, str, Canvas] | None  # name, caption, figure


def file_of(figure: Canvas, kind: str) -> bytes:
    """Encode a figure without any date: an SVG without background, a PNG or a PDF on white."""
    buffer = io.BytesIO()
    meta = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind)
    face = "none" if kind == "svg" else "white"
    figure.savefig(buffer, format=kind, dpi=160, facecolor=face, metadata=meta)
    return buffer.getvalue()


def canvas(
    rows: int, columns: int, width: float, height: float, sharey: bool = False
) -> tuple[Canvas, Any]:
    """A figure and its axes, rows by columns. width, height: in inches"""
    figure = Canvas(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False, sharey=sharey)
    for axis in axes.flat:
        axis.set_facecolor("none")
        axis.grid(axis="y", color="#888888", alpha=0.25, linewidth=0.6)
    return figure, axes


def legend(figure: Canvas, axes: Any, columns: int, more: Sequence[Any] = ()) -> None:
    """One legend below all panels, for what is drawn in any of them and for `more`. The figure
    grows by its height. columns: at most; as many as fit beside each other"""
    found = [axis.get_legend_handles_labels() for axis in axes.flat if axis.get_visible()]
    handles = {label: h for pair in found for h, label in zip(*pair, strict=True)}
    handles |= {handle.get_label(): handle for handle in more}
    if handles:
        room = figure.get_figwidth()
        labels = [textwrap.fill(str(name), int((room - KEY) / LETTER)) for name in handles]
        widest = KEY + LETTER * max(map(len, labels))
        columns = max(1, min(columns, int(room / widest)))
        lines = -(-sum(label.count("\n") + 1 for label in labels) // columns)
        figure.set_figheight(figure.get_figheight() + LINE * lines)
        figure.legend(handles.values(), labels, loc="outside lower left", ncols=columns)


def logarithmic(axis: Any, values: Sequence[float], of: str = "y", ticks: int = 8) -> None:
    """Use a log scale with plain tick labels, if all values are positive. of: `x` or `y`"""
    if min(values) <= 0:
        return
    axis.set(**{f"{of}scale": "log"})
    lines = axis.xaxis if of == "x" else axis.yaxis
    subs = (1.0, 2.0, 5.0) if max(values) < 50 * min(values) else (1.0,)
    lines.set_major_locator(LogLocator(subs=subs, numticks=ticks))
    lines.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    lines.set_minor_formatter(NullFormatter())
