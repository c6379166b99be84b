"""What the stages of a result are called. Imports no torch: the report imports this file."""

from __future__ import annotations

from typing import Any


def column_titles(result: dict[str, Any]) -> dict[str, str]:
    """The stages to show, and what each is. A run without a refiner has no refined model."""
    config, before = result["config"], already_sparse(result) or "dense"
    if _name(config, "prune") == "none":
        return {"refined": before}
    if _name(config, "finetune") != "none":
        return {"dense": before, "pruned": "pruned", "refined": "fine-tuned"}
    if _name(config, "refine") == _name(config, "reconstruct") == "none":
        return {"dense": before, "refined": "pruned"}
    return {"dense": before, "pruned": "pruned", "refined": "refined"}


def _name(config: dict[str, Any], group: str) -> str:
    """The method of a group; results of older versions lack some groups."""
    return str((config.get(group) or {}).get("name", "none"))


def already_sparse(result: dict[str, Any]) -> str:
    """What a model was before this run, such as `wanda+dsnot 60 %`; empty if it was dense."""
    sparse = result["model"].get("sparse")
    if not isinstance(sparse, dict) or not isinstance(sparse.get("sparsity"), int | float):
        return ""
    groups = ("prune", "allocate", "refine", "reconstruct", "finetune")
    methods = [sparse.get(group) for group in groups]
    name = "+".join(str(method) for method in methods if method not in (None, "none", "uniform"))
    return f"{name or 'sparse'} {100 * sparse['sparsity']:.3g} %"
