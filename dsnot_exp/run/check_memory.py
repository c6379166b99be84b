"""Refuses a run whose matrices cannot fit on the device, before the weights are loaded."""

from __future__ import annotations

from collections.abc import Mapping

from dsnot_exp.methods.protocols import Needs
from dsnot_exp.methods.statistics import Statistic
from dsnot_exp.models.linears import Linear
from dsnot_exp.run.plan import Plan
from dsnot_exp.utils.batch_size import total_memory
from dsnot_exp.utils.errors import RequestError

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
    count = square_matrices(plan.recipe.needs)
    if not count or not layers:
        return
    layer = max(layers, key=lambda name: layers[name].weight.shape[1])
    width = layers[layer].weight.shape[1]
    needed, held = 4 * count * width**2, total_memory(plan.device)
    if needed > held:
        raise RequestError(
            f"device={plan.device}: {layer} has {width} inputs, whose {count} matrices of that "
            f"width take {needed / GIB:.1f} GiB, but the device has {held / GIB:.1f} GiB; choose "
            "methods without a Gram matrix (prune=wanda), or leave the layer out (model.dense)"
        )
