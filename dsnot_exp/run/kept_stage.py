"""Makes a stage's model sparse: from what an earlier run has kept, or by a walk that is kept."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from dsnot_exp.evaluate.store import Store
from dsnot_exp.models.placement import Placed
from dsnot_exp.models.streamed import Streamed
from dsnot_exp.run.clock import Clock
from dsnot_exp.run.inputs import Inputs
from dsnot_exp.run.plan import Plan
from dsnot_exp.run.shared import shared_store
from dsnot_exp.run.sparse_stage import complete, sparsify_stage
from dsnot_exp.run.sparse_store import SparseStore
from dsnot_exp.run.state import RunState
from dsnot_exp.utils.console import Display, say
from dsnot_exp.utils.errors import RunError
from dsnot_exp.walk.keeper import SparseKeeper
from dsnot_exp.walk.kept import KeptSparse
from dsnot_exp.walk.recipe import Recipe
from dsnot_exp.walk.record import Solved
from dsnot_exp.walk.restore import restore
from dsnot_exp.walk.sparsified import Sparsified

MEASURED = "measured"


@dataclass(frozen=True)
class Made:
    """A stage's sparse model. The weights are in the model.

    kept: what other runs can use of it; None if it could not be kept
    reused: an earlier run has made it
    """

    sparse: Sparsified
    kept: KeptSparse | None
    reused: bool


def make_sparse(
    model: Placed,
    recipe: Recipe,
    stage: str,
    plan: Plan,
    inputs: Inputs,
    state: RunState,
    clock: Clock,
    display: Display,
    on_solved: Callable[[int, Solved], None],
) -> Made:
    """Make the dense model sparse in place. `stage`: pruned or refined; on_solved: as in walk"""
    store, ranks = inputs.kept.stores[stage], plan.ranks
    with nullcontext() if store.keeps == "none" else store.locked():
        kept = inputs.kept.find(stage, inputs.calibration)
        if kept is not None:
            with clock("load"):
                sparse = _restored(model, kept, stage, plan, state, display)
            own = kept.known["maker"] == _maker(state) and clock.resumed > 0
            return Made(sparse, kept, not own)
        if plan.needs_calibration and inputs.calibration is None:
            raise RunError(
                f"{store.folder}: the sparse model was removed while this run was using it; run "
                "the same command again"
            )
        keeper = store.keeper()
        try:
            sparse = sparsify_stage(
                model, recipe, stage, plan, inputs.calibration, state, clock, display,
                _both(on_solved, keeper),
            )  # fmt: skip
            if keeper is not None:
                with clock("keep"):
                    known = {"maker": _maker(state), "data": _data(inputs, stage)}
                    kept = keeper.finish(model, sparse, store.keeps == "weights", **known)
                state.save_clock()
        finally:
            if keeper is not None:
                keeper.abandon()
        return Made(sparse, ranks.of_first(kept), False)


def _both(
    on_solved: Callable[[int, Solved], None], keeper: SparseKeeper | None
) -> Callable[[int, Solved], None]:
    """Report a block, and keep its masks."""

    def add(index: int, solved: Solved) -> None:
        on_solved(index, solved)
        if keeper is not None:
            keeper.add(solved)

    return add


def _restored(
    model: Placed, kept: KeptSparse, stage: str, plan: Plan, state: RunState, display: Display
) -> Sparsified:
    say(f"taking the {stage} model from {kept.folder}")
    journal = None
    if isinstance(model, Streamed):  # its sparse blocks go to disk
        journal = state.journal(stage, model, allocation=f"kept {kept.folder.name}")
    try:
        sparse = restore(model, kept, journal=journal, on_block=display.advance, ranks=plan.ranks)
    except FileNotFoundError as error:
        raise RunError(
            f"{error.filename}: removed while this run was reading it; run the same command again"
        ) from error
    if isinstance(model, Streamed):
        assert journal is not None
        complete(model, journal, plan.ranks)
    return sparse


def _maker(state: RunState) -> str:
    """Of a run in its folder, whose state says how long its walk took."""
    text = f"{state.folder.resolve()} {state.identity}"
    return hashlib.sha256(text.encode()).hexdigest()


def _data(inputs: Inputs, stage: str) -> dict[str, Any] | None:
    """The calibration tokens. Runs that hold out other sequences share the `pruned` model."""
    own = inputs.initializer_only() if stage == "pruned" else inputs
    tokens = own.calibrated
    return None if tokens is None else {"record": tokens.record(), "warnings": tokens.warnings}


def measured_store(plan: Plan, inputs: Inputs, store: SparseStore, made: Made) -> Store | None:
    """Measurements of a sparse model, shared by all runs that have it. None with keep=none, and
    where its weights are not known to be the same: a method moved them, and they are not kept."""
    sparse, kept = made.sparse, made.kept
    if store.keeps == "none":
        return None
    if sparse.moved and (kept is None or not kept.has_weights):
        return None
    weights = "" if kept is None else kept.weights_digest
    options = {"sparse": store.key, "masks": sparse.masks_sha256, "weights": weights}
    return shared_store(MEASURED, plan, inputs.source, **options)
