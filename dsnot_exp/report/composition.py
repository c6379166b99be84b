"""What was done to the weights, as one name: `alps+fisher+cg, target 0.5/0.25`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from dsnot_exp.results.method_names import GROUPS, joined

TARGET = ("calib.target.alpha", "calib.target.beta")
# What a run did whose version had no such option. Else it would fit beside any value of it.
ASSUMED = {
    "allocate.name": "uniform", "reconstruct.name": "none", "finetune.name": "none",
    "eval.blocks": None, **dict.fromkeys(TARGET, 0.0),
}  # fmt: skip
Options = Mapping[str, Any]


def methods(options: Options, without: Collection[str] = ()) -> str:
    """The methods in order, such as `wanda+dsnot`; empty if nothing was pruned."""
    return joined({group: options.get(f"{group}.name") for group in GROUPS}, without)


def composition(options: Options, without: Collection[str] = ()) -> str:
    """The methods, the number of cycles and the target; empty if nothing was pruned."""
    found = methods(options, without)
    cycles = options.get("refine.max_cycles")
    if found and cycles is not None and "refine" not in without:
        found += f", {cycles}" if isinstance(cycles, str) else f", {cycles} cycles"
    return f"{found}, {target(options)}" if found and target(options) else found


def target(options: Options) -> str:
    """`target 0.5/0.25`: alpha and beta; empty for the usual target, the dense layer's output."""
    alpha, beta = (options.get(key) or 0 for key in TARGET)
    return f"target {alpha}/{beta}" if alpha or beta else ""


def first(name: str) -> str:
    """The pruner of a composition's name."""
    return name.partition(",")[0].split("+")[0]
