"""Refuses, before the weights are loaded, a training of blocks that the device has no room for."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from dsnot_exp.models.linears import Linear, is_routed, owned
from dsnot_exp.run.plan import Plan
from dsnot_exp.utils.accelerator import total_memory
from dsnot_exp.utils.errors import RequestError


def refuse_without_room(plan: Plan, blocks: nn.ModuleList, dtype: torch.dtype) -> int:
    """The bytes that the training of a block takes beside its weights, at least; 0 without one.
    Raises if they and the largest block are more than the device's memory.

    blocks: on the meta device; dtype: of the weights
    """
    recipe, calib = plan.recipe, plan.config.calib
    if recipe is None or recipe.block_reconstructor is None:
        return 0
    assert calib.seqlen is not None
    sparsity = float(plan.config.sparsity or 0)
    most = state = beside = 0
    for block, own in zip(blocks, owned(blocks, plan.config.model.dense), strict=True):
        weights = sum(linear.weight.numel() for linear in own.values())
        kept = round(weights * (1 - sparsity))
        trained = recipe.block_reconstructor.state_bytes(weights, kept, dtype.itemsize)
        copy = weights * dtype.itemsize  # the dense weights, for the layers' errors
        parameters = sum(p.numel() for p in block.parameters()) * dtype.itemsize
        activations = activation_bytes(own, calib.seqlen, dtype)
        extra = copy + trained + activations
        beside = max(beside, extra)
        if parameters + extra > most:
            most, state = parameters + extra, trained
    if most > (memory := total_memory(plan.device)):
        raise RequestError(
            f"reconstruct={plan.config.reconstruct['name']}: the largest block takes "
            f"{most:,} bytes while it is trained ({state:,} for the optimizer and its copies), and "
            f"{plan.device} has {memory:,}; choose a larger device, or reconstruct=none"
        )
    return beside


def activation_bytes(linears: Mapping[str, Linear], seqlen: int, dtype: torch.dtype) -> int:
    """What a forward of one sequence keeps for the backward pass, at least: the inputs and outputs
    of linears. Of experts it is not known, because each token reaches few of them."""
    always = [linear for name, linear in linears.items() if not is_routed(name)]
    return seqlen * dtype.itemsize * sum(sum(linear.weight.shape) for linear in always)
