"""What the methods of a run are called: `wanda+dsnot` where programs read it, `Wanda + DSnoT` in
print. Imports no torch: the report imports this file."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

GROUPS = ("prune", "allocate", "refine", "reconstruct", "finetune")  # in the order of a name
DOES_NOTHING = (None, "none", "uniform", "dense")
PRINTED = {
    "dense": "Dense", "magnitude": "Magnitude", "wanda": "Wanda", "sparsegpt": "SparseGPT",
    "dsnot": "DSnoT", "dsnot_official": "DSnoT (released)", "lora": "LoRA", "owl": "OWL",
    "ria": "RIA", "alps": "ALPS", "moments": "moments", "swaps": "swaps", "cg": "CG",
    "admm": "ADMM", "lstsq": "least squares", "block": "block", "fisher": "fisher",
    "alpha": "AlphaPruning", "linear": "linear", "search": "search", "file": "file",
}  # fmt: skip
# What may follow the methods: `, 50 cycles`, or the sparsity of a model that they made.
MORE = re.compile(r"(,| [\d.e-]+ %$)")


def applied(chosen: Mapping[str, Any], without: Collection[str] = ()) -> list[str]:
    """The methods that do something, in the order of GROUPS; none if nothing was pruned.

    chosen: the method of each group; what has no entry, or None, was not recorded
    """
    if chosen.get("prune") in ("none", "dense"):  # the other methods have no mask
        return []
    names = [chosen.get(group) for group in GROUPS if group not in without]
    return [str(name) for name in names if name not in DOES_NOTHING]


def joined(chosen: Mapping[str, Any], without: Collection[str] = ()) -> str:
    """`wanda+dsnot`; empty if nothing was pruned."""
    return "+".join(applied(chosen, without))


def method_of(config: Mapping[str, Any], group: str) -> str:
    """The method of a group; results of older versions lack some groups."""
    return str((config.get(group) or {}).get("name", "none"))


def methods_of(config: Mapping[str, Any]) -> dict[str, str]:
    """The method of every group of a configuration."""
    return {group: method_of(config, group) for group in GROUPS}


def pretty(method: str) -> str:
    """Format `wanda+dsnot, 50 cycles` as in the papers: `Wanda + DSnoT, 50 cycles`. A method of a
    plug-in keeps its name. Leave other labels unchanged."""
    found = MORE.search(method)
    methods, more = (method[: found.start()], method[found.start() :]) if found else (method, "")
    parts = methods.split("+")
    if parts[0] not in PRINTED and not (len(parts) > 1 and any(part in PRINTED for part in parts)):
        return method
    return " + ".join(PRINTED.get(part, part) for part in parts) + more
