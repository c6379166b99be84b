"""Make a model sparse, in place: calibration sequences through the walk, with a recipe.

The command line and the Python API both call `sparsify`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor

from dsnot_exp.methods.allocation import Allocator
from dsnot_exp.methods.patterns import Pattern
from dsnot_exp.models.linears import all_linears
from dsnot_exp.models.placement import Placed
from dsnot_exp.utils.batch_size import per_forward
from dsnot_exp.utils.distributed import ALONE, Ranks
from dsnot_exp.utils.errors import RunError
from dsnot_exp.walk.allocation import Given, allocated, looks, targets
from dsnot_exp.walk.block_training import NO_ROOM, micro_batch, per_process
from dsnot_exp.walk.hidden_states import AUTO, Storage
from dsnot_exp.walk.journal import Journal
from dsnot_exp.walk.loop import untimed, walk
from dsnot_exp.walk.recipe import Recipe
from dsnot_exp.walk.record import BlockFit, Choice, LayerRecord, Solved
from dsnot_exp.walk.sequences import REMEDY, begin
from dsnot_exp.walk.solver import BlockSolver
from dsnot_exp.walk.view import BlockView


@dataclass
class Sparsified:
    """What is known about a model's layers once they are sparse. The weights are in the model.

    notes: by layer, where its method had to do something else
    choices: of the refinement budget, by block, where it was left to choose
    targets: by layer, the sparsity that it was given, or its N:M
    fits: of the blocks' kept weights, where they were trained
    moved: the layers whose kept weights are not those of the dense model
    batch: calibration sequences per forward; None without calibration
    dtype: of the model
    masks_sha256: over every layer's name, shape and mask, in the order of the walk
    """

    records: list[LayerRecord] = field(default_factory=list)
    notes: dict[str, str] = field(default_factory=dict)
    choices: list[Choice] = field(default_factory=list)
    targets: dict[str, float | str] = field(default_factory=dict)
    fits: list[BlockFit] = field(default_factory=list)
    moved: list[str] = field(default_factory=list)
    batch: int | None = None
    dtype: torch.dtype = torch.float32
    masks_sha256: str = ""

    def __post_init__(self) -> None:
        self._masks = hashlib.sha256()
        self.masks_sha256 = self.masks_sha256 or self._masks.hexdigest()

    def add(self, solved: Solved) -> None:
        """Count a block; blocks are added in the order of the walk."""
        self.records += solved.records
        self.notes |= solved.notes
        self.choices += [solved.choice] if solved.choice is not None else []
        self.fits += [solved.fit] if solved.fit is not None else []
        self.moved += solved.moved
        for name, mask in solved.masks.items():
            self._masks.update(name.encode())
            self._masks.update(mask.numpy().tobytes())
        self.masks_sha256 = self._masks.hexdigest()


def sparsify(
    placed: Placed,
    ids: Tensor | None,
    recipe: Recipe,
    *,
    held_out: Tensor | None = None,
    journal: Journal | None = None,
    storage: Storage = AUTO,
    batch_size: int | None = None,
    on_block: Callable[[], None] = lambda: None,
    on_layer: Callable[[str], None] = lambda layer: None,
    on_note: Callable[[str], None] = lambda note: None,
    on_solved: Callable[[int, Solved], None] = lambda index, solved: None,
    timed: Callable[[str], AbstractContextManager[None]] = untimed,
    ranks: Ranks = ALONE,
) -> Sparsified:
    """Prune and refine every layer of the model, in place.

    ids: calibration token ids (sequences, tokens); None where no method needs any
    held_out: more of them, which count for no statistic: a budget that the refiner leaves open is
        chosen on them, and the weights of a trained block
    journal: of an interrupted walk; the walk resumes after its last finished block
    storage: of hidden states
    batch_size: sequences per forward; None: about 4096 tokens
    on_block, on_layer, on_note: progress; timed: a context per phase
    on_solved: gets each block in order with its index, those that the journal holds included
    """
    recipe = allocated(
        placed, ids, recipe, storage=storage, batch_size=batch_size, on_note=on_note, ranks=ranks
    )
    patterns = allocation(placed, recipe)
    sparse = Sparsified(dtype=placed.model.dtype, targets=targets(patterns))
    solver = BlockSolver(recipe, patterns, ranks, timed, on_layer, on_note)
    if isinstance(recipe.allocator, Given):
        sparse.notes |= recipe.allocator.notes

    def add(index: int, solved: Solved) -> Solved:
        sparse.add(solved)
        on_solved(index, solved)
        return solved

    for index, solved in enumerate(journal.solved if journal is not None else []):
        add(index, solved)

    def solve(view: BlockView) -> Solved:
        return add(view.index, solver(view))

    if not recipe.needs:  # magnitude alone: no forward
        ids = held_out = None
    size = batch_size or per_forward(ids.shape[1] if ids is not None else 1)
    remedy = REMEDY
    if recipe.block_reconstructor is not None:
        assert held_out is not None, "the best weights are chosen on held-out sequences"
        remedy = NO_ROOM
        size = micro_batch(size, per_process(recipe.block_reconstructor, ranks))
    streams: dict[str, Any] = {"held_out": held_out, "dense_stream": recipe.dense_stream}
    with begin(placed, ids, size, storage, ranks, remedy, **streams) as sequences:
        walk(sequences, solve, placed.dense, journal, on_block, timed, ranks)
        sparse.batch = sequences.size or None
    return sparse


def allocation(placed: Placed, recipe: Recipe) -> dict[str, Pattern]:
    """The pattern of each prunable layer of the model. The recipe's allocator looks at nothing, or
    has looked already."""
    assert not looks(recipe.allocator)
    allocator = cast(Allocator, recipe.allocator)
    layers = list(all_linears(placed.blocks, placed.dense))
    found = allocator(layers, recipe.pattern)
    if absent := [layer for layer in layers if layer not in found]:
        raise RunError(f"{absent[0]}: {type(allocator).__name__} gave it no pattern")
    return found
