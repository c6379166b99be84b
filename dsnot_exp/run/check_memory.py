"""Refuses a run whose matrices cannot fit on the device, before the weights are loaded."""

from __future__ import annotations

import re
from collections.abc import Mapping

from dsnot_exp.methods.protocols import Needs
from dsnot_exp.methods.statistics import Statistic
from dsnot_exp.models.linears import Linear
from dsnot_exp.run.plan import Plan
from dsnot_exp.utils.accelerator import total_memory
from dsnot_exp.utils.errors import RequestError
from dsnot_exp.walk.allocation import needs_of

SQUARE = frozenset({Statistic.GRAM, Statistic.NORMALISED, Statistic.DRIFT})  # (in, in), float32
GIB = 2**30


def square_matrices(needs: Needs) -> int:
    """How many matrices (in, in) of one input are alive together, at least: the statistics, and the
    inverse or the factor that a method makes of them."""
    count = len(needs & SQUARE)
    return count + 1 if count else 0


def refuse_too_large(plan: Plan, layers: Mapping[str, Linear]) -> None:
    """Raise if the matrices of the widest input alone are larger than the device."""
    assert plan.recipe is not None
    allocator = plan.recipe.allocator
    count = max(square_matrices(plan.recipe.needs), square_matrices(needs_of(allocator)))
    if not count or not layers:
        return
    layer = max(layers, key=lambda name: layers[name].weight.shape[1])
    width = layers[layer].weight.shape[1]
    needed, held = 4 * count * width**2, total_memory(plan.device)
    if hasattr(allocator, "search"):
        _refuse_search(plan, layers, held)
    if needed > held:
        raise RequestError(
            f"device={plan.device}: {layer} has {width} inputs, whose {count} matrices of that "
            f"width take {needed / GIB:.1f} GiB, but the device has {held / GIB:.1f} GiB; choose "
            "methods without a Gram matrix (prune=wanda), or leave the layer out (model.dense)"
        )


def _refuse_search(plan: Plan, layers: Mapping[str, Linear], held: int) -> None:
    """Raise if what a search keeps is larger than the device: the matrices of at least one input of
    each width in each block, and the weights twice, of at least two bytes each."""
    assert plan.recipe is not None
    count = square_matrices(needs_of(plan.recipe.allocator))
    inputs = {(_block(layer), linear.weight.shape[1]) for layer, linear in layers.items()}
    weights = sum(linear.weight.numel() for linear in layers.values())
    needed = 4 * count * sum(width**2 for _, width in inputs) + 2 * 2 * weights
    if needed > held:
        name = plan.config.allocate["name"]
        raise RequestError(
            f"allocate={name}: the matrices of all inputs and the weights twice take "
            f"{needed / GIB:.1f} GiB, but {plan.device} has {held / GIB:.1f} GiB; choose "
            "allocate=fisher, or allocate.pruner=wanda, which needs no such matrices"
        )


def _block(layer: str) -> str:
    return re.sub(r"(\.\d+)\..*", r"\1", layer, count=1)
