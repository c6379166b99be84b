"""The plot of quality against cost: a panel for each sparsity, a point for each composition."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.ticker import MaxNLocator

from dsnot_exp.report.names import of_model, of_texts
from dsnot_exp.report.plot_style import COLOURS, Drawn, canvas, legend, logarithmic
from dsnot_exp.report.tables.ranking import Ranking
from dsnot_exp.results.method_names import pretty

MARKERS = "osD^vPX*p"  # 9: prime to the number of colours, so that every pair occurs
MOST = {"panels": 6, "columns": 3, "points": 20}
WIDE = 8  # a log scale, if the largest value is so many times the smallest
Point = tuple[str, float, float]  # composition, seconds, quality


def quality_cost(rankings: Sequence[Ranking]) -> Drawn:
    """Ratio to SparseGPT (or perplexity) against seconds, for the model and text with the most
    rankings. None if no seconds are recorded."""
    families: dict[tuple[Any, ...], list[Ranking]] = {}
    for ranking in rankings:
        options = ranking.run.options
        family = (ranking.run.model, ranking.text, *(str(options.get(key)) for key in CALIBRATION))
        families.setdefault(family, []).append(ranking)
    chosen = max(families.values(), key=len, default=[])
    ratio = all(ranking.compared for ranking in chosen)
    panels = [(r, points) for r in chosen if (points := _points(r, ratio))][: MOST["panels"]]
    if not panels:
        return None
    names = list(dict.fromkeys(name for _, points in panels for name, _, _ in points))
    names = sorted(names[: MOST["points"]], key=lambda name: (name.split(",")[0], name))
    columns = min(MOST["columns"], len(panels))
    rows = -(-len(panels) // columns)
    height = 2.5 * rows + 0.4
    times = [seconds for _, points in panels for _, seconds, _ in points]
    figure, axes = canvas(rows, columns, 2.4 * columns + (2.4 if columns == 1 else 0.4), height)
    for axis, (ranking, points) in zip(axes.flat, panels, strict=False):
        _panel(axis, points, names)
        axis.set_title(ranking.run.budget)
        if min(times) > 0 and max(times) > WIDE * min(times):
            logarithmic(axis, times, "x")
            axis.set_xlim(min(times) / 1.2, 1.2 * max(times))
        else:
            axis.set_xlim(0, 1.08 * max(times))
            axis.xaxis.set_major_locator(MaxNLocator(5))
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    for axis in axes[:, 0]:
        axis.set_ylabel("gap to dense / SparseGPT's gap" if ratio else "perplexity")
    for place, axis in enumerate(axes.flat):
        if place + columns >= len(panels):
            axis.set_xlabel("time (s)")
    legend(figure, axes, 2)
    first = panels[0][0]
    (name,) = of_texts([first.text]).values()
    left = (
        f" Shown: {len(panels)} of {len(rankings)} rankings." if len(panels) < len(rankings) else ""
    )
    what = "the gap to the dense perplexity over SparseGPT's gap" if ratio else "perplexity"
    text = (
        f"Quality against cost of {of_model(first.run.options)} on {name}: {what}, "
        "and the seconds of the forwards and of the method. Lower and further left is better. "
        f"Line: the compositions that no other one beats in both.{left}"
    )
    return "quality_cost", text, figure


CALIBRATION = ("calib.dataset", "calib.samples", "calib.seqlen")


def _points(ranking: Ranking, ratio: bool) -> list[Point]:
    found = []
    for one in ranking.standings:
        quality = (one.ratio if ratio else one.perplexity).value
        if quality is not None and one.forwards.value is not None:
            found.append((one.name, one.forwards.value + (one.over.value or 0.0), quality))
    return found


def _panel(axis: Any, points: Sequence[Point], names: Sequence[str]) -> None:
    best: list[Point] = []
    for point in sorted(points, key=lambda p: (p[1], p[2])):
        if not best or point[2] < best[-1][2]:
            best.append(point)
    axis.plot([x for _, x, _ in best], [y for _, _, y in best], color=COLOURS[6], linewidth=0.9,
              drawstyle="steps-post", zorder=1)  # fmt: skip
    for name, seconds, quality in sorted(points, key=lambda point: point[0]):
        if name in names:
            place = names.index(name)
            marker, colour = MARKERS[place % len(MARKERS)], COLOURS[place % len(COLOURS)]
            axis.plot([seconds], [quality], marker, color=colour, markersize=6, label=pretty(name))
    values = [quality for _, _, quality in points]
    if max(values) > WIDE * min(values):
        logarithmic(axis, values)
