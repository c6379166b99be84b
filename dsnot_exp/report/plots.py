"""Plots of a folder of runs, with captions that say which runs they show."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import MaxNLocator

from dsnot_exp.report.names import pretty
from dsnot_exp.report.plot_style import STYLE, canvas, file_of, logarithmic
from dsnot_exp.report.runs import Run, in_order, number
from dsnot_exp.report.tables.groups import clashing

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f")
DASHES: tuple[Any, ...] = ("-", "-", ":", "-.", (0, (5, 1, 1, 1, 1, 1)))
MOST = {"panels": 4, "lines": 7, "options": 2, "errors": 3, "costs": 16}
PHASES = ("load", "calibrate", "prune", "refine", "finetune", "reconstruct", "evaluate")


@dataclass(frozen=True)
class Picture:
    name: str
    caption: str
    png: bytes
    svg: bytes


def pictures(runs: Sequence[Run]) -> Iterator[Picture]:
    """The plots for which these runs have data."""
    for draw in (_sparsity, _errors, _costs):
        with matplotlib.rc_context(STYLE):
            found = draw(runs)
            if found is not None:
                name, caption, figure = found
                yield Picture(name, caption, file_of(figure, "png"), file_of(figure, "svg"))


Drawn = tuple[str, str, Canvas] | None


def _sparsity(runs: Sequence[Run]) -> Drawn:
    """Perplexity against sparsity: a line per method, a panel per model and data set. None if the
    runs differ in too many other options."""
    lines: dict[tuple[str, str], dict[str, dict[float, list[float]]]] = {}
    keys = clashing(runs, ("model", "method", "sparsity", "pattern"))
    if len(keys) > MOST["options"]:
        return None
    for run in runs:
        sparsity = number(run.options.get("sparsity"))
        if sparsity is None or ":" in run.budget or run.method == "dense":
            continue
        for name in run.result["metrics"]["perplexity"]:
            value = run.metric("perplexity", name, "refined")
            if value is not None:
                label = ", ".join([run.method, *_further(run, keys)])
                panel = lines.setdefault((run.model, name), {})
                panel.setdefault(label, {}).setdefault(sparsity, []).append(value)
    wide = {k: v for k, v in lines.items() if len({s for line in v.values() for s in line}) > 1}
    if not wide:
        return None
    shown = list(wide.items())[: MOST["panels"]]
    figure, axes = canvas(1, len(shown), 3.4 * len(shown) + 2.2, 3.4)
    every = in_order([method for _, panel in shown for method in panel])
    methods = every[: MOST["lines"]]
    hues = list(dict.fromkeys(_hue(method) for method in methods))
    alike = {hue: [m for m in methods if _hue(m) == hue] for hue in hues}
    for axis, ((model, name), panel) in zip(axes.flat, shown, strict=True):
        for method in (m for m in methods if m in panel):
            places = sorted(panel[method])
            means = [sum(panel[method][s]) / len(panel[method][s]) for s in places]
            hue = _hue(method)
            dash = DASHES[alike[hue].index(method) % len(DASHES)] if "+" in method else "--"
            colour = COLOURS[hues.index(hue) % len(COLOURS)]
            axis.plot([100 * s for s in places], means, linestyle=dash, marker="o", markersize=3.5,
                      color=colour, label=pretty(method))  # fmt: skip
        values = [v for line in panel.values() for found in line.values() for v in found]
        if max(values) > 8 * min(values):
            logarithmic(axis, values)
        axis.set(title=_broken(f"{model}, {_tail(name)}"), xlabel="sparsity (%)")
    axes.flat[0].set_ylabel("perplexity")
    handles = {label: h for axis in axes.flat
               for h, label in zip(*axis.get_legend_handles_labels(), strict=True)}  # fmt: skip
    figure.legend(handles.values(), handles.keys(), loc="outside right upper")
    left = f" Shown: {len(shown)} of {len(wide)} panels." if len(shown) < len(wide) else ""
    if len(methods) < len(every):
        left += f" Shown: {len(methods)} of {len(every)} lines."
    text = f"Perplexity against sparsity, mean over seeds. Dashed: the initializer alone.{left}"
    return "perplexity_sparsity", text, figure


def _broken(title: str, width: int = 34) -> str:
    """A title that is wider than its panel would cover the legend."""
    return "\n".join(textwrap.wrap(title, width))


def _further(run: Run, keys: list[str]) -> list[str]:
    return [f"{key}={run.axis(key)}" for key in keys if run.axis(key) is not None]


def _hue(label: str) -> str:
    """Methods with the same initializer share a colour, unless other options split the lines."""
    return label if "," in label else label.split("+")[0]


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
        row[0].set_title(f"{run.model}, {run.method}, {run.budget}")
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
    labels = [f"{run.model}  {run.method}  {run.budget}" for run in shown]
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


def _tail(name: str) -> str:
    return name.rpartition("/")[2]
