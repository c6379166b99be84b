"""What the stages of a result are called. Imports no torch: the report imports this file."""

from __future__ import annotations

from typing import Any

GROUPS = ("prune", "allocate", "refine", "reconstruct", "finetune")  # as in a method's name


def column_titles(result: dict[str, Any]) -> dict[str, str]:
    """The stages to show, and what each is. A run without a refiner has no refined model."""
    config, before = result["config"], already_sparse(result) or "dense"
    if method_of(config, "prune") == "none":
        return {"refined": before}
    if method_of(config, "finetune") != "none":
        return {"dense": before, "pruned": "pruned", "refined": "fine-tuned"}
    if method_of(config, "refine") == method_of(config, "reconstruct") == "none":
        return {"dense": before, "refined": "pruned"}
    return {"dense": before, "pruned": "pruned", "refined": "refined"}


def method_of(config: dict[str, Any], group: str) -> str:
    """The method of a group; results of older versions lack some groups."""
    return str((config.get(group) or {}).get("name", "none"))


def already_sparse(result: dict[str, Any]) -> str:
    """What a model was before this run, such as `wanda+dsnot 60 %`; empty if it was dense."""
    sparse = result["model"].get("sparse")
    if not isinstance(sparse, dict) or not isinstance(sparse.get("sparsity"), int | float):
        return ""
    methods = [sparse.get(group) for group in GROUPS]
    name = "+".join(str(method) for method in methods if method not in (None, "none", "uniform"))
    return f"{name or 'sparse'} {100 * sparse['sparsity']:.3g} %"
