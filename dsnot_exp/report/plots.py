"""Plots of a folder of runs, with captions that say which runs they show."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import matplotlib

from dsnot_exp.report.allocation_plot import allocation
from dsnot_exp.report.cost_plot import quality_cost
from dsnot_exp.report.error_plot import error_map, multiples
from dsnot_exp.report.plot_style import KINDS, STYLE, Drawn, file_of
from dsnot_exp.report.runs import Run
from dsnot_exp.report.sparsity_plot import sparsity
from dsnot_exp.report.tables.ranking import Ranking
from dsnot_exp.report.time_plot import time_memory
from dsnot_exp.report.zero_shot_plot import zero_shot

NAMES = (
    "perplexity_sparsity", "zero_shot", "quality_cost", "allocation", "relative_errors",
    "expected_errors", "error_map", "time_memory",
)  # fmt: skip


@dataclass(frozen=True)
class Picture:
    """files: by their ending"""

    name: str
    caption: str
    files: dict[str, bytes]


def pictures(runs: Sequence[Run], ranked: Sequence[Ranking] = ()) -> Iterator[Picture]:
    """The plots for which these runs have data."""
    draws: tuple[Callable[[Sequence[Run]], Drawn], ...] = (
        sparsity, zero_shot, lambda _: quality_cost(ranked), allocation,
        partial(multiples, kind="relative"), partial(multiples, kind="expected"), error_map,
        time_memory,
    )  # fmt: skip
    for draw in draws:
        with matplotlib.rc_context(STYLE):
            found = draw(runs)
            if found is not None:
                name, caption, figure = found
                yield Picture(name, caption, {kind: file_of(figure, kind) for kind in KINDS})
