"""Walking through a model in tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from dsnot_exp.models.blocks import find_blocks
from dsnot_exp.sequences import Sequences
from dsnot_exp.walk import Block, Forgetful, Solver, walk


@dataclass
class Watch:
    """A solver that leaves the block alone and keeps what it was shown."""

    needs: frozenset[str] = frozenset()
    seen: dict[str, dict] = field(default_factory=dict)

    def __call__(self, block: Block, statistics: dict) -> None:
        self.seen[block.name] = statistics


class Outputs(Forgetful):
    """Goes on through the last block, whose outputs the walk itself does not need."""

    def keep(self, block: Block, solved: Any, sequences: Sequences) -> None:
        if block.index == len(sequences.blocks) - 1:
            sequences.propagate(block.index, block.module)


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
