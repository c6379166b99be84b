"""What the stages of a result are called. Imports no torch: the report imports this file."""

from __future__ import annotations

from typing import Any

from dsnot_exp.results.method_names import joined, method_of, methods_of, pretty


def column_titles(result: dict[str, Any]) -> dict[str, str]:
    """The stages to show, and what each is. A run without a refiner has no refined model."""
    config, before = result["config"], pretty(already_sparse(result)) or "dense"
    if method_of(config, "prune") == "none":
        return {"refined": before}
    if method_of(config, "finetune") != "none":
        return {"dense": before, "pruned": "pruned", "refined": "fine-tuned"}
    if method_of(config, "refine") == method_of(config, "reconstruct") == "none":
        return {"dense": before, "refined": "pruned"}
    return {"dense": before, "pruned": "pruned", "refined": "refined"}


def method_name(result: dict[str, Any]) -> str:
    """The methods that a run applied to the weights, such as `wanda+dsnot`. If there are none:
    `dense`, or what made the model sparse before."""
    return joined(methods_of(result["config"])) or already_sparse(result) or "dense"


def already_sparse(result: dict[str, Any]) -> str:
    """What a model was before this run, such as `wanda+dsnot 60 %`; empty if it was dense."""
    sparse = result["model"].get("sparse")
    if not isinstance(sparse, dict) or not isinstance(sparse.get("sparsity"), int | float):
        return ""
    return f"{joined(sparse) or 'sparse'} {100 * sparse['sparsity']:.3g} %"
