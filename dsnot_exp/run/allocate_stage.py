"""Gives every layer of the run's model its pattern, once for all runs that would find the same."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any, cast

from dsnot_exp.evaluate.store import Store
from dsnot_exp.models.placement import Placed
from dsnot_exp.run.clock import Clock
from dsnot_exp.run.fingerprint import identities, plugins_of
from dsnot_exp.run.inputs import Inputs
from dsnot_exp.run.plan import Plan
from dsnot_exp.run.shared import shared_store
from dsnot_exp.run.state import RunState
from dsnot_exp.utils.console import Display, say
from dsnot_exp.walk.allocation import Given, allocated, from_targets, looks, steps, targets
from dsnot_exp.walk.hidden_states import Storage
from dsnot_exp.walk.recipe import Recipe

ALLOCATION = "allocation"


def allocate_stage(
    model: Placed,
    recipe: Recipe,
    plan: Plan,
    inputs: Inputs,
    state: RunState,
    clock: Clock,
    display: Display,
) -> tuple[Recipe, bool]:
    """The recipe with each layer's pattern, and whether an earlier run has found it. The model is
    dense, and stays so."""
    if not looks(recipe.allocator):
        return recipe, False

    def find() -> dict[str, Any]:
        count = steps(recipe.allocator, len(model.blocks[1]))
        with clock("allocate"), display.phase("allocate", count) as bar:
            calibration = inputs.calibration
            found = allocated(
                model,
                calibration.ids if calibration is not None else None,
                recipe,
                storage=Storage(plan.config.calib.states, state.folder.parent),
                batch_size=plan.config.calib.batch_size,
                on_step=bar.advance,
                on_note=say,
                memory=StateMemory(state),
                ranks=plan.ranks,
            )
        given = cast(Given, found.allocator)
        return {"targets": targets(given.patterns), "notes": dict(given.notes)}

    found, reused = allocation_store(plan, inputs).get_or({}, find)
    patterns = from_targets(found["targets"])
    return replace(recipe, allocator=Given(patterns, found["notes"])), reused


@dataclass(frozen=True)
class StateMemory:
    """Keeps a search's state in the run's."""

    state: RunState

    def recall(self) -> Any:
        found = (self.state.recall(ALLOCATION) or {}).get(ALLOCATION)
        if found is not None:
            say("resuming the search of an allocation")
        return found

    def keep(self, state: Any) -> None:
        self.state.save_clock()
        self.state.remember(ALLOCATION, {ALLOCATION: state})


def allocation_store(plan: Plan, inputs: Inputs) -> Store:
    """Allocations, shared by all runs with the same `out`: neither the pruner nor what follows it
    has an influence."""
    config = plan.config
    options = {
        "allocate": config.allocate,
        "plugin": "+".join(identities(plugins_of(plan, ["allocate"]))) or None,
        "model": {key: getattr(config.model, key) for key in ("dtype", "dense", "blocks")},
        "sparsity": [config.sparsity, config.pattern],
        "calib": {"batch": config.calib.batch_size, "min_tokens": config.calib.min_tokens},
        "seed": config.seed,
        "device": plan.device.type,
    }
    data = None
    if inputs.calibration is not None:
        data = replace(inputs.calibration, held_out=None).record()
    plain = json.loads(json.dumps({**options, "data": data}, default=str))
    return shared_store("allocations", plan, inputs.source, **plain, processes=plan.ranks.size)
