"""Plots of a folder of runs, with captions that say which runs they show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import matplotlib
from matplotlib.ticker import MaxNLocator

from dsnot_exp.report.allocation_plot import allocation
from dsnot_exp.report.cost_plot import quality_cost
from dsnot_exp.report.plot_style import COLOURS, STYLE, Drawn, canvas, file_of, logarithmic
from dsnot_exp.report.runs import Run, in_order, number
from dsnot_exp.report.sparsity_plot import sparsity
from dsnot_exp.report.tables.ranking import Ranking

MOST = {"errors": 3, "costs": 16}
PHASES = (
    "load", "calibrate", "prune", "refine", "finetune", "reconstruct", "evaluate", "allocate",
)  # fmt: skip


@dataclass(frozen=True)
class Picture:
    name: str
    caption: str
    png: bytes
    svg: bytes


def pictures(
    runs: Sequence[Run], by: str = "method", ranked: Sequence[Ranking] = ()
) -> Iterator[Picture]:
    """The plots for which these runs have data. by: the axis whose values are lines"""
    compositions, lines = (lambda _: quality_cost(ranked)), partial(sparsity, by=by)
    for draw in (compositions, lines, allocation, _errors, _costs):
        with matplotlib.rc_context(STYLE):
            found = draw(runs)
            if found is not None:
                name, caption, figure = found
                yield Picture(name, caption, file_of(figure, "png"), file_of(figure, "svg"))


def _errors(runs: Sequence[Run]) -> Drawn:
    """Layer errors of each initializer's refined run with the lowest perplexity."""
    best: dict[str, tuple[float, Run]] = {}
    for run in runs:
        if not _rows(run, "expected"):
            continue
        texts = run.result["metrics"]["perplexity"]
        known = [run.metric("perplexity", name, "refined") for name in texts]
        value = next((v for v in known if v is not None), float("inf"))
        name = str(run.axis("initializer"))
        if name not in best or value < best[name][0]:
            best[name] = (value, run)
    shown = [best[name][1] for name in in_order(list(best))][: MOST["errors"]]
    if not shown:
        return None
    figure, axes = canvas(len(shown), 2, 9.6, 0.7 + 2.1 * len(shown))
    for row, run in zip(axes, shown, strict=True):
        for axis, kind in zip(row, ("relative", "expected"), strict=True):
            _panel(axis, run, kind)
        row[0].set_title(f"{run.model}, {run.variant}, {run.budget}")
    for axis in axes[-1]:
        axis.set_xlabel("layer, in model order")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[0, 1].legend(loc="upper right", bbox_to_anchor=(1, 1.22), ncols=2)
    text = (
        f"Error of every layer before and after refinement, for {len(shown)} of {len(runs)} runs: "
        "for each initializer, the run with the lowest perplexity. Relative error: "
        "‖(W−Ŵ)X‖² / ‖WX‖². Expected error: mean of |e_r| over rows."
    )
    return "layer_errors", text, figure


def _rows(run: Run, kind: str) -> list[tuple[float, float]]:
    rows = run.result["metrics"]["reconstruction"]
    pairs = [(number(r.get(f"{kind}_before")), number(r.get(f"{kind}_after"))) for r in rows]
    return [(b, a) for b, a in pairs if b is not None and a is not None]


def _panel(axis: Any, run: Run, kind: str) -> None:
    axis.set_ylabel("expected error" if kind == "expected" else "relative error")
    pairs = _rows(run, kind)
    if not pairs:
        axis.text(0.5, 0.5, "not recorded", ha="center", transform=axis.transAxes)
        return
    few = "o" if len(pairs) <= 80 else None
    before, after = zip(*pairs, strict=True)
    for values, colour, label in ((before, COLOURS[1], "before"), (after, COLOURS[0], "after")):
        axis.plot(range(1, len(pairs) + 1), values, marker=few, markersize=2.5, linewidth=0.9,
                  color=colour, label=label)  # fmt: skip
    logarithmic(axis, before + after)


def _costs(runs: Sequence[Run]) -> Drawn:
    """Seconds by phase and peak memory, one bar per run."""
    timed = [run for run in runs if any(number(v) for v in run.result["timing_s"].values())]
    slowest = sorted(timed, key=lambda run: -(number(run.result["timing_s"].get("total")) or 0.0))
    chosen = {id(run) for run in slowest[: MOST["costs"]]}
    shown = [run for run in timed if id(run) in chosen][::-1]
    if not shown:
        return None
    figure, axes = canvas(1, 2, 9.6, 1.5 + 0.26 * len(shown))
    places = range(len(shown))
    start = [0.0] * len(shown)
    for phase, colour in zip(PHASES, COLOURS, strict=True):
        seconds = [number(run.result["timing_s"].get(phase)) or 0.0 for run in shown]
        if any(seconds):
            axes[0, 0].barh(places, seconds, 0.62, left=start, color=colour, label=phase)
        start = [a + b for a, b in zip(start, seconds, strict=True)]
    for offset, kind, colour in ((0.16, "rss", COLOURS[6]), (-0.16, "device", COLOURS[0])):
        size = [number(r.result["memory"].get(f"peak_{kind}_bytes")) or 0.0 for r in shown]
        if any(size):
            name = "host memory" if kind == "rss" else "device memory"
            y = [place + offset for place in places]
            axes[0, 1].barh(y, [s / 2**30 for s in size], 0.3, color=colour, label=name)
    labels = [f"{run.model}  {run.variant}  {run.budget}" for run in shown]
    alike = Counter(labels)
    names = [run.path.parent.name.rpartition("-")[2] for run in shown]
    labels = [f"{x}  {n}" if alike[x] > 1 else x for x, n in zip(labels, names, strict=True)]
    axes[0, 0].set_yticks(list(places), labels)
    axes[0, 1].set_yticks([])
    for axis, name in zip(axes[0], ("time (s)", "peak memory (GiB)"), strict=True):
        axis.set_xlabel(name)
        axis.grid(axis="y", visible=False)
        axis.grid(axis="x", color="#888888", alpha=0.25, linewidth=0.6)
        if axis.get_legend_handles_labels()[0]:
            place = {"loc": "lower left", "bbox_to_anchor": (0, 1)}
            axis.legend(**place, ncols=4, handlelength=1, fontsize=8)
        else:
            axis.set_visible(False)  # nothing was recorded
    which = "every run" if len(shown) == len(runs) else f"{len(shown)} of {len(runs)} runs"
    return (
        "time_memory",
        f"Time by phase and peak memory of {which}"
        + (" (the slowest)." if len(shown) < len(timed) else "."),
        figure,
    )
