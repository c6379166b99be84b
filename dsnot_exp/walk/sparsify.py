"""Make a model sparse, in place: calibration sequences through the walk, with a recipe.

The command line and the Python API both call `sparsify`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, cast

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
from dsnot_exp.walk.record import Solved
from dsnot_exp.walk.sequences import REMEDY, begin
from dsnot_exp.walk.solver import BlockSolver
from dsnot_exp.walk.sparsified import Sparsified
from dsnot_exp.walk.view import BlockView


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
