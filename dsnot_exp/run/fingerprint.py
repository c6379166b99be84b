"""Identifies a run by a hash over everything that affects its result."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dsnot_exp import __version__, tinyworld
from dsnot_exp.config import WITHOUT_EFFECT, ModelConfig
from dsnot_exp.methods import registry
from dsnot_exp.methods.plugins.file import PluginFile
from dsnot_exp.methods.plugins.known import Installed
from dsnot_exp.models import smollm2_folder
from dsnot_exp.run.content import fingerprint
from dsnot_exp.run.plan import Plan

WHERE_ONLY = (("model", "streaming"), ("calib", "states"))  # they choose where to compute, not what


def config_hash(plan: Plan) -> str:
    """sha256 over the resolved options, the device type, and the content of local files."""
    options = {k: v for k, v in asdict(plan.config).items() if k not in WITHOUT_EFFECT}
    for group, option in WHERE_ONLY:
        options[group].pop(option)
    if options["eval"]["blocks"] is None:  # keeps the hashes from before `eval.blocks` existed
        options["eval"].pop("blocks")
    if plan.recipe is None:  # dense: pruning and calibration options have no effect,
        # but for calib.seqlen, the default of eval.seqlen
        options["eval"]["seqlen"] = options["eval"]["seqlen"] or options["calib"]["seqlen"]
        options = {k: v for k, v in options.items() if k in ("model", "eval", "sparsity", "seed")}
    elif not plan.refines:
        options["refine"] = {"name": "none"}
    if plan.finetuner is None:  # keeps the hashes from before `finetune` existed
        options.pop("finetune", None)
    options["device"] = plan.device.type
    options["version"] = __version__
    files = {name: fingerprint(Path(name)) for name in _local_names(plan)}
    options["files"] = files | _without_path(plan.config.model)
    if plugins := identities(plugins_of(plan)):
        options["plugins"] = plugins
    return hashlib.sha256(json.dumps(options, sort_keys=True, default=str).encode()).hexdigest()


def sparse_hash(plan: Plan) -> str:
    """The same over what makes the sparse model: runs that measure other things of it share it.

    plan: with its sequence lengths settled, so that a default equals the length that it means
    """
    return config_hash(plan.sparse_only())


def plugins_of(
    plan: Plan, groups: Sequence[str] = tuple(registry.OURS)
) -> dict[str, PluginFile | Installed]:
    """By `GROUP=NAME` of every method of the run that is a plug-in, where it comes from."""
    groups = groups if plan.recipe is not None else ["finetune"]
    chosen = [(group, getattr(plan.config, group)["name"]) for group in groups]
    allocator: Any = plan.recipe and plan.recipe.allocator
    if hasattr(allocator, "search"):  # it compares allocations with a pruner
        chosen += [("prune", allocator.pruner)]
    found = {f"{group}={name}": registry.plugin(group, name) for group, name in chosen}
    return {key: source for key, source in found.items() if source is not None}


def identities(plugins: Mapping[str, PluginFile | Installed]) -> list[str]:
    """What the code of plug-ins is identified by."""
    return sorted({source.identity for source in plugins.values()})


def _without_path(model: ModelConfig) -> dict[str, Any]:
    """The content of a model that its name alone locates. Of smollm2-q4 it is what the folder must
    hold, whichever version of transformers made it."""
    if smollm2_folder.is_it(model):
        return {model.name: smollm2_folder.RELEASED.weights}
    if model.name == "tinyworld" and model.path is None:
        return {model.name: fingerprint(tinyworld.MODEL)}
    return {}


def _local_names(plan: Plan) -> list[str]:
    evaluation = plan.config.eval
    names = [plan.config.model.path or "", *evaluation.perplexity, *evaluation.tasks]
    if plan.recipe is not None:
        names += [plan.config.calib.dataset, plan.config.allocate.get("path") or ""]
    names += [plan.finetuner.dataset] if plan.finetuner is not None else []
    return sorted({name for name in names if name and Path(name).expanduser().exists()})
