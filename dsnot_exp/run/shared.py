"""What runs with the same `out` share: measurements and allocations, by what they depend on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dsnot_exp.evaluate.store import Store
from dsnot_exp.models.source import Source
from dsnot_exp.run.content import code_fingerprint, model_fingerprint
from dsnot_exp.run.fingerprint import config_hash
from dsnot_exp.run.inputs import Inputs
from dsnot_exp.run.plan import Plan


def shared_store(name: str, plan: Plan, source: Source, **more: Any) -> Store:
    """The store `name` below `out`. more: what its values depend on besides the model's content and
    the code"""
    common = {"model": model_fingerprint(source), "code": code_fingerprint(), **more}
    return Store(Path(plan.config.out) / name, common, plan.config.rerun, plan.ranks)


def dense_store(plan: Plan, source: Source) -> Store:
    """Measurements of dense models, shared by all runs with the same `out`."""
    return shared_store(
        "dense", plan, source, dtype=plan.config.model.dtype, device=plan.device.type
    )


def pruned_store(plan: Plan, inputs: Inputs) -> Store:
    """Measurements of models after the initializer alone, shared like those of dense models: a
    sweep over refiners measures each of them once."""
    if plan.recipe is None or not plan.evaluates_pruned:
        return Store(None)
    return shared_store(
        "pruned",
        plan,
        inputs.source,
        run=config_hash(plan.initializer_only()),
        data=inputs.initializer_only().records(),
        processes=plan.ranks.size,
    )
