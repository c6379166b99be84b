"""The plot of perplexity against sparsity."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from dsnot_exp.report.composition import first
from dsnot_exp.report.names import pretty
from dsnot_exp.report.plot_style import COLOURS, Drawn, canvas, logarithmic
from dsnot_exp.report.runs import Run, in_order, number
from dsnot_exp.report.tables.groups import clashing

DASHES: tuple[Any, ...] = ("-", "-", ":", "-.", (0, (5, 1, 1, 1, 1, 1)))
MOST = {"panels": 4, "lines": 7, "variants": 12, "options": 2}


def sparsity(runs: Sequence[Run], by: str) -> Drawn:
    """Perplexity against sparsity: a line per method, a panel per model and data set. None if the
    runs differ in too many other options. by: the axis of the lines, such as `method`"""
    lines: dict[tuple[str, str], dict[str, dict[float, list[float]]]] = {}
    keys = clashing(runs, ("model", by, "sparsity", "pattern"))
    if len(keys) > MOST["options"]:
        return None
    for run in runs:
        amount = number(run.options.get("sparsity"))
        if amount is None or ":" in run.budget or run.method == "dense":
            continue
        for name in run.result["metrics"]["perplexity"]:
            value = run.metric("perplexity", name, "refined")
            if value is not None:
                label = ", ".join([str(run.axis(by)), *_further(run, keys)])
                panel = lines.setdefault((run.model, name), {})
                panel.setdefault(label, {}).setdefault(amount, []).append(value)
    wide = {k: v for k, v in lines.items() if len({s for line in v.values() for s in line}) > 1}
    if not wide:
        return None
    shown = list(wide.items())[: MOST["panels"]]
    figure, axes = canvas(1, len(shown), 3.4 * len(shown) + 2.2, 3.4)
    every = in_order([method for _, panel in shown for method in panel])
    most = MOST["lines"] if by == "method" else MOST["variants"]
    methods = every[:most]
    hues = list(dict.fromkeys(_hue(method) for method in methods))
    alike = {hue: [m for m in methods if _hue(m) == hue] for hue in hues}
    for axis, ((model, name), panel) in zip(axes.flat, shown, strict=True):
        for method in (m for m in methods if m in panel):
            places = sorted(panel[method])
            means = [sum(panel[method][s]) / len(panel[method][s]) for s in places]
            hue = _hue(method)
            dash = (
                DASHES[alike[hue].index(method) % len(DASHES)] if first(method) != method else "--"
            )
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
    return label if "=" in label else first(label)


def _tail(name: str) -> str:
    return name.rpartition("/")[2]
