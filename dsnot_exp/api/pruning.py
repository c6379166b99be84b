"""Prunes a model object that has been checked, or puts it back as it was."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch

from dsnot_exp.api.inputs import Requested, source_of
from dsnot_exp.api.masks import Masks
from dsnot_exp.api.seconds import Seconds
from dsnot_exp.api.sparse import Sparse
from dsnot_exp.api.undo import Collected, Undo, Watched
from dsnot_exp.models.blocks import find_blocks
from dsnot_exp.models.placement import Placed, move, place
from dsnot_exp.results.privacy import private
from dsnot_exp.run.already_sparse import Found, look_for_zeros, record_of
from dsnot_exp.run.plan import Plan
from dsnot_exp.utils.console import Display, say
from dsnot_exp.walk.allocation import allocated, looks, steps
from dsnot_exp.walk.hidden_states import Storage
from dsnot_exp.walk.recipe import Recipe
from dsnot_exp.walk.sparsified import Sparsified
from dsnot_exp.walk.sparsify import sparsify


def pruned(model: Any, tokenizer: Any, requested: Requested, display: Display) -> Sparse:
    """Prune the model, or put it back."""
    plan, undo, home = requested.plan, Undo(), model.device
    try:
        blocks = find_blocks(model, plan.config.model.blocks)
        dense = plan.config.model.dense
        placed = place(model, blocks, plan.device, dense, training=requested.training)
        before = look_for_zeros(placed, source_of(model), prunes=True)
        seconds = Seconds(plan.device)
        walked = Collected(undo)
        found = _walked(placed, requested, undo, walked, seconds, display)
        if model.device != home or not placed.whole:
            move(model, home)
        at_home = Placed(model, blocks, home, dense=dense)
        return Sparse(
            model=model,
            tokenizer=tokenizer,
            masks=Masks(walked.masks),
            config=private(asdict(plan.config)),
            data=None if requested.calibration is None else requested.calibration.record(),
            seconds={phase: round(took, 3) for phase, took in seconds.phases.items()},
            warnings=[*requested.warnings, *before.warnings],
            placed=at_home,
            found=found,
            record=_record(plan, model, before, found),
            seconds_by_layer=seconds.layers,
        )
    except BaseException:  # Ctrl-C too
        undo.restore()
        move(model, home)
        raise


def _walked(
    placed: Placed,
    requested: Requested,
    undo: Undo,
    walked: Collected,
    seconds: Seconds,
    display: Display,
) -> Sparsified:
    plan, recipe = requested.plan, requested.plan.recipe
    assert recipe is not None
    calibration = requested.calibration
    ids = None if calibration is None else calibration.ids
    held_out = None if calibration is None or not recipe.holds_out else calibration.held_out
    recipe = _allocated(placed, ids, recipe, plan, seconds, display)
    watched = Watched(**{k: getattr(placed, k) for k in Placed.__dataclass_fields__}, undo=undo)
    name = "prune" if recipe.refiner is None else "refine"
    with display.phase(name, len(placed.blocks[1])) as bar:

        def at(layer: str) -> None:
            seconds.at(layer)
            bar.at(layer)

        return sparsify(
            watched,
            ids,
            recipe,
            held_out=held_out,
            journal=walked,  # type: ignore[arg-type]
            storage=Storage(plan.config.calib.states),
            batch_size=plan.config.calib.batch_size,
            on_block=bar.advance,
            on_layer=at,
            on_note=say,
            timed=seconds.timed,
        )


def _allocated(
    placed: Placed,
    ids: torch.Tensor | None,
    recipe: Recipe,
    plan: Plan,
    seconds: Seconds,
    display: Display,
) -> Recipe:
    """The recipe with each layer's pattern."""
    if not looks(recipe.allocator):
        return recipe
    count = steps(recipe.allocator, len(placed.blocks[1]))
    with seconds.timed("allocate"), display.phase("allocate", count) as bar:
        return allocated(
            placed,
            ids,
            recipe,
            storage=Storage(plan.config.calib.states),
            batch_size=plan.config.calib.batch_size,
            on_step=bar.advance,
            on_note=say,
        )


def _record(plan: Plan, model: Any, before: Found, found: Sparsified) -> dict[str, Any] | None:
    """What the saved model tells of itself. There is no run, so no hash of one."""
    record = record_of(plan, source_of(model), "", before, found)
    return record and record | {"config_hash": None}
