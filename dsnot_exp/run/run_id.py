"""The name of a run's folder."""

from __future__ import annotations

import re
from pathlib import Path

from omegaconf import DictConfig

from dsnot_exp.config import ModelConfig
from dsnot_exp.methods import registry
from dsnot_exp.run.composed import refused_name
from dsnot_exp.run.fingerprint import config_hash
from dsnot_exp.run.plan import plan_of
from dsnot_exp.utils.errors import DsnotError


def run_id(_root_: DictConfig) -> str:
    """The name of a run's folder, such as `tinyworld-wanda-0.6-dsnot-1f2e3d4c`."""
    try:
        plan = plan_of(_root_)
    except DsnotError:
        return refused_name(_root_)
    pattern = plan.config.pattern.replace(":", "of")
    amount = pattern
    if pattern == "unstructured":  # null: allocate=file says it
        amount = "file" if plan.config.sparsity is None else f"{plan.config.sparsity:g}"
    methods = [plan.config.prune["name"]]
    if plan.recipe is not None:
        methods += [amount, plan.config.refine["name"]]
        if plan.config.reconstruct["name"] != registry.NONE:
            methods += [plan.config.reconstruct["name"]]
        allocator = plan.config.allocate["name"]
        methods += [allocator] if allocator not in ("uniform", amount) else []
    if plan.finetuner is not None:
        methods += [plan.config.finetune["name"]]
    return "-".join([_model_name(plan.config.model), *methods, config_hash(plan)[:8]])


def _model_name(model: ModelConfig) -> str:
    """The model's name; for `local` and `hub` the last part of its path."""
    if model.name not in ("local", "hub") or model.path is None:
        return model.name
    return re.sub(r"[^\w.+-]+", "_", Path(model.path).expanduser().resolve().name) or model.name
