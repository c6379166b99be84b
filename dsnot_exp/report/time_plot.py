"""The plot of time by phase and of peak memory: one bar per run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from dsnot_exp.report.names import of_model
from dsnot_exp.report.plot_style import COLOURS, Drawn, canvas
from dsnot_exp.report.runs import Run, number
from dsnot_exp.report.tables.costs import sparse_reused
from dsnot_exp.results.method_names import pretty

MOST = 16  # bars
SEEN = 0.003  # of the longest bar: what is shorter cannot be seen
PHASES = (
    "load", "calibrate", "prune", "refine", "finetune", "reconstruct", "evaluate", "allocate",
)  # fmt: skip


def time_memory(runs: Sequence[Run]) -> Drawn:
    """Seconds by phase and peak memory, one bar per run."""
    own = [run for run in runs if not sparse_reused(run)]
    timed = [run for run in own if any(number(v) for v in run.result["timing_s"].values())]
    slowest = sorted(timed, key=lambda run: -(number(run.result["timing_s"].get("total")) or 0.0))
    chosen = {id(run) for run in slowest[:MOST]}
    shown = [run for run in timed if id(run) in chosen][::-1]
    if not shown:
        return None
    figure, axes = canvas(1, 2, 9.6, 1.5 + 0.26 * len(shown))
    places = range(len(shown))
    start = [0.0] * len(shown)
    longest = max(number(run.result["timing_s"].get("total")) or 0.0 for run in shown)
    for phase, colour in zip(PHASES, COLOURS, strict=True):
        seconds = [number(run.result["timing_s"].get(phase)) or 0.0 for run in shown]
        if max(seconds) > SEEN * longest:
            axes[0, 0].barh(places, seconds, 0.62, left=start, color=colour, label=phase)
        start = [a + b for a, b in zip(start, seconds, strict=True)]
    for offset, kind, colour in ((0.16, "rss", COLOURS[6]), (-0.16, "device", COLOURS[0])):
        size = [number(r.result["memory"].get(f"peak_{kind}_bytes")) or 0.0 for r in shown]
        if any(size):
            name = "host memory" if kind == "rss" else "device memory"
            y = [place + offset for place in places]
            axes[0, 1].barh(y, [s / 2**30 for s in size], 0.3, color=colour, label=name)
    labels = [f"{of_model(run.options)}, {pretty(run.variant)}, {run.budget}" for run in shown]
    labels = _told_apart(labels, shown)
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


def _told_apart(labels: Sequence[str], runs: Sequence[Run]) -> list[str]:
    """Bars of one label by their seed, else by the hash in the folder's name."""
    alike = Counter(labels)
    seeds = [f"{label}, seed {run.options.get('seed')}"
             for label, run in zip(labels, runs, strict=True)]  # fmt: skip
    hashes = [f"{label}, {run.path.parent.name.rpartition('-')[2]}"
              for label, run in zip(labels, runs, strict=True)]  # fmt: skip
    own = Counter(seeds)
    return [label if alike[label] == 1 else seed if own[seed] == 1 else hash_
            for label, seed, hash_ in zip(labels, seeds, hashes, strict=True)]  # fmt: skip
