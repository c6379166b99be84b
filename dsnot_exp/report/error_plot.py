"""The errors of the layers: small multiples by kind of matrix, and a heat map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.colors import LogNorm, Normalize
from matplotlib.ticker import MaxNLocator

from dsnot_exp.report.layers import Map, best, errors, level, short
from dsnot_exp.report.names import of_model
from dsnot_exp.report.plot_style import COLOURS, Drawn, canvas, legend, logarithmic
from dsnot_exp.report.runs import Run
from dsnot_exp.results.method_names import pretty

WORDS = {
    "relative": "Relative error, ‖(W−Ŵ)X‖² / ‖WX‖²",
    "expected": "Expected error, the mean of |e_r| over rows",
}
COLUMNS = 4
FEW_BLOCKS = 40  # up to so many have a marker each
WIDE = 8


def multiples(runs: Sequence[Run], kind: str) -> Drawn:
    """The error of each kind of matrix by block, before and after refinement."""
    shown = [(run, *errors(run, kind)) for run in best(runs)]
    shown = [found for found in shown if found[1]]
    if not shown:
        return None
    kinds = list(dict.fromkeys(name for _, cells, _ in shown for _, name in cells))
    columns = min(COLUMNS, len(kinds))
    rows = -(-len(kinds) // columns)
    width = 1.85 * columns + (2.4 if columns == 1 else 0.3)
    figure, axes = canvas(rows, columns, width, 1.55 * rows + 0.5)
    labels = short(kinds)
    several = len({of_model(run.options) for run, *_ in shown}) > 1
    for axis, name in zip(axes.flat, kinds, strict=False):
        for (run, *pair), colour in zip(shown, COLOURS, strict=False):
            whose = f"{of_model(run.options)}, " if several else ""
            _lines(axis, pair, name, colour, f"{whose}{_label(run)}")
        axis.set_title(labels[name])
        axis.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    for axis in axes.flat[len(kinds) :]:
        axis.set_visible(False)
    for axis in axes[:, 0]:
        axis.set_ylabel("error")
    for axis in axes.flat[max(0, len(kinds) - columns) : len(kinds)]:
        axis.set_xlabel("block")
    legend(figure, axes, 2)
    models = ", ".join(dict.fromkeys(of_model(run.options) for run, *_ in shown))
    text = (
        f"{WORDS[kind]}, of each kind of matrix by block: {models}. Dashed: the initial mask; "
        f"solid: after refinement and reconstruction. {_which(shown, runs)}"
    )
    return f"{kind}_errors", text, figure


def _lines(axis: Any, pair: Sequence[Map], name: str, colour: str, label: str) -> None:
    values: list[float] = []
    for cells, dash, when in zip(pair, ("--", "-"), ("before", "after"), strict=True):
        points = sorted((block, value) for (block, own), value in cells.items() if own == name)
        marker = "o" if len(points) <= FEW_BLOCKS else ""
        axis.plot(
            [block for block, _ in points], [value for _, value in points], dash, marker=marker,
            markersize=3, markerfacecolor="none" if when == "before" else colour, linewidth=1,
            color=colour, label=f"{label}, {when}",
        )  # fmt: skip
        values += [value for _, value in points]
    low, high = axis.dataLim.intervaly
    if values and low > 0 and high > WIDE * low:
        logarithmic(axis, [low, high], ticks=5)


def _which(shown: Sequence[Any], runs: Sequence[Run]) -> str:
    if len(runs) == 1:
        return ""
    refined = any(run.options.get("refine.name") not in (None, "none") for run, *_ in shown)
    which = "the refined run" if refined else "the run"
    return (
        f"Shown: {len(shown)} of {len(runs)} runs, for each initializer {which} with the lowest "
        "perplexity."
    )


def _label(run: Run) -> str:
    return f"{pretty(run.method)}, {run.budget}"


def error_map(runs: Sequence[Run]) -> Drawn:
    """Blocks by kinds of matrix, of the refined run with the lowest perplexity: before, after, and
    the change."""
    known = sorted(best(runs), key=level)
    kind = "relative" if any(errors(run, "relative")[0] for run in known) else "expected"
    run = next((run for run in known if len(errors(run, kind)[0]) > 1), None)
    if run is None:
        return None
    before, after = errors(run, kind)
    change = {place: 100 * (after[place] / value - 1) for place, value in before.items() if value}
    changed = any(abs(value) > 1e-9 for value in change.values())
    blocks = len({block for block, _ in before})
    height = 1.9 + min(4.5, 0.16 * max(blocks, 8))
    figure, axes = canvas(1, 3 if changed else 1, 7.2 if changed else 3.6, height, sharey=True)
    values = [v for v in (*before.values(), *after.values()) if v > 0]
    wide = bool(values) and max(values) > WIDE * min(values)
    norm = (LogNorm if wide else Normalize)(min(values, default=0), max(values, default=1))
    panels = [("before", before), ("after", after)] if changed else [("error", before)]
    for axis, (title, cells) in zip(axes.flat, panels, strict=False):
        image = _heat(axis, cells, title, cmap="viridis", norm=norm)
    figure.colorbar(image, ax=list(axes.flat[: len(panels)]), label=f"{kind} error",
                    location="bottom", shrink=0.8, aspect=30, format="%g")  # fmt: skip
    if changed:
        most = max(abs(value) for value in change.values())
        image = _heat(axes.flat[2], change, "change", cmap="RdBu_r", vmin=-most, vmax=most)
        figure.colorbar(image, ax=axes.flat[2], label="change (%)", location="bottom", aspect=15)
    axes.flat[0].set_ylabel("block")
    figure.suptitle(f"{of_model(run.options)}, {_label(run)}", x=0.01, ha="left", fontsize=9.5)
    what = "before and after refinement and reconstruction" if changed else "of the initial mask"
    text = (
        f"{WORDS[kind]}, of each layer {what}: {of_model(run.options)}, {_label(run)}. Blue: the "
        "error fell; red: it rose."
    )
    return "error_map", text if changed else text.partition(" Blue")[0], figure


def _heat(axis: Any, cells: Map, title: str, **scale: Any) -> Any:
    blocks = sorted({block for block, _ in cells})
    kinds = list(dict.fromkeys(kind for _, kind in cells))
    grid = [[cells.get((block, kind), float("nan")) for kind in kinds] for block in blocks]
    image = axis.imshow(grid, aspect="auto", interpolation="nearest", **scale)
    axis.grid(visible=False)
    labels = short(kinds)
    axis.set_xticks(range(len(kinds)), [labels[kind] for kind in kinds], rotation=90)
    step = max(1, -(-len(blocks) // 16))
    axis.set_yticks(range(len(blocks))[::step], blocks[::step])
    axis.set_title(title)
    return image
