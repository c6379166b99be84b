"""Walking through a model in tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from dsnot_exp.methods.protocols import Needs
from dsnot_exp.methods.statistics import InputStatistics, Statistic
from dsnot_exp.models.blocks import find_blocks
from dsnot_exp.walk.loop import NoKeeper, walk
from dsnot_exp.walk.sequences import Sequences
from dsnot_exp.walk.view import BlockView, Solver

GRAM, SAMPLE = Statistic.GRAM, Statistic.SAMPLE
MOMENTS = frozenset({Statistic.MEAN, Statistic.VAR, Statistic.NORM})


@dataclass
class Watch:
    """A solver that leaves the block alone and keeps the statistics."""

    needs: Needs = frozenset()
    seen: dict[str, dict[str, InputStatistics]] = field(default_factory=dict)

    def __call__(self, view: BlockView) -> None:
        self.seen[view.name] = view.statistics(self.needs)


class Outputs(NoKeeper):
    """Propagates the last block too, whose outputs the walk itself does not need."""

    def keep(self, view: BlockView, solved: Any) -> None:
        if view.index == len(view.sequences.blocks) - 1:
            view.sequences.propagate(view.index, view.module)


def walked(
    model: nn.Module,
    batches: list[Tensor],
    solver: Solver,
    dense: Sequence[str] = (),
    blocks: str | None = None,
    **options: Any,
) -> list[Tensor]:
    """The last block's outputs, per batch; options: those of `Sequences`."""
    sequences = Sequences(model, find_blocks(model, blocks), list(batches), **options)
    walk(sequences, solver, dense, Outputs())
    return list(sequences.states)
