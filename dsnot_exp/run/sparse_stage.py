"""Makes the run's model sparse, with the run's state, clock and display around the walk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from dsnot_exp.data.tokens import Tokens
from dsnot_exp.methods.refine.dsnot import backend
from dsnot_exp.methods.refine.dsnot.method import DSnoT
from dsnot_exp.models.placement import Placed
from dsnot_exp.models.save import complete_folder
from dsnot_exp.models.source import Source
from dsnot_exp.models.streamed import Streamed
from dsnot_exp.run.clock import Clock
from dsnot_exp.run.plan import Plan
from dsnot_exp.run.state import RunState
from dsnot_exp.utils.console import Display, say
from dsnot_exp.utils.distributed import Ranks
from dsnot_exp.walk.allocation import allocation_hash
from dsnot_exp.walk.hidden_states import Storage
from dsnot_exp.walk.journal import Journal
from dsnot_exp.walk.recipe import Recipe
from dsnot_exp.walk.record import Solved
from dsnot_exp.walk.sparsified import Sparsified
from dsnot_exp.walk.sparsify import sparsify


def sparsify_stage(
    model: Placed,
    recipe: Recipe,
    stage: str,
    plan: Plan,
    calibration: Tokens | None,
    state: RunState,
    clock: Clock,
    display: Display,
    on_solved: Callable[[int, Solved], None],
) -> Sparsified:
    """Prune and refine the model in place. `stage`: pruned or refined; on_solved: as in walk"""
    journal = _journal(model, recipe, stage, state, clock)
    sparse = sparsify(
        model,
        calibration.ids if calibration is not None else None,
        recipe,
        held_out=_held_out(recipe, calibration),
        journal=journal,
        storage=Storage(plan.config.calib.states, state.folder.parent),
        batch_size=plan.config.calib.batch_size,
        on_block=display.advance,
        on_layer=display.at,
        on_note=say,
        on_solved=on_solved,
        timed=clock,
        ranks=plan.ranks,
    )
    if isinstance(model, Streamed):
        assert journal is not None
        complete(model, journal, plan.ranks)
    return sparse


def computed_with(plan: Plan, sparse: Sparsified, eval_batch: int | None) -> dict[str, Any]:
    """What rounding depends on, besides the machine: sequences per forward, and the kernel."""
    refines = plan.recipe is not None and isinstance(plan.recipe.refiner, DSnoT)
    return {
        "calib_batch": sparse.batch,
        "eval_batch": eval_batch,
        "dsnot_kernel": backend.kernel(plan.device, sparse.dtype) if refines else None,
    }


def _held_out(recipe: Recipe, calibration: Tokens | None) -> Tensor | None:
    """The sequences to choose on; None where nothing is chosen."""
    if calibration is None or not recipe.holds_out:
        return None
    return calibration.held_out


def _journal(
    model: Placed, recipe: Recipe, stage: str, state: RunState, clock: Clock
) -> Journal | None:
    """The journal of this stage, or None if the run keeps no state."""
    with clock("load"):
        journal = state.journal(stage, model, recipe.dense_stream, allocation_hash(recipe))
    if journal is not None and journal.finished:
        say(f"resuming at block {journal.finished} of {journal.count} ({stage})")
    return journal


def complete(model: Streamed, journal: Journal, ranks: Ranks) -> None:
    """Turn the journal's shards into a model folder, and read the model from it from now on."""
    folder = journal.folder / "model"
    if ranks.first:
        complete_folder(model, folder)
    ranks.wait()
    model.source = Source(str(folder), trust_remote_code=model.source.trust_remote_code)
