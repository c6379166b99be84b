"""Opens the run's model, and finds out what must be known of it before it is pruned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dsnot_exp.models.kinds import LEFT_OUT, left_out
from dsnot_exp.models.linears import all_linears, kept_dense
from dsnot_exp.models.open import open_model
from dsnot_exp.models.placement import Placed
from dsnot_exp.models.streamed import Streamed
from dsnot_exp.run.already_sparse import Found, look_for_zeros
from dsnot_exp.run.inputs import Inputs
from dsnot_exp.run.plan import Plan
from dsnot_exp.utils.console import say
from dsnot_exp.utils.errors import RunError


def open_for(plan: Plan, inputs: Inputs) -> Placed:
    """Open the run's model. Raises if the run cannot prune or train it."""
    options, training = plan.config.model, inputs.training_bytes
    placed = open_model(inputs.source, options, plan.device, inputs.checked, training)
    if plan.finetuner is not None and not placed.whole:
        raise RunError(
            "finetune=lora: the model does not fit on the device and cannot be trained block "
            "by block; choose a larger device, device=cpu, or finetune=none"
        )
    if plan.recipe is not None and isinstance(placed, Streamed):
        placed.refuse_unrestorable()
    return placed


@dataclass(frozen=True)
class Opened:
    """facts: the `model` field of result.json
    block_weights: entries of all matrices in the blocks, dense ones included
    found: whether the model was sparse before
    warnings: what the user must know of it, one sentence each
    """

    facts: dict[str, Any]
    block_weights: int
    found: Found
    warnings: list[str]

    @classmethod
    def of(cls, placed: Placed, plan: Plan, inputs: Inputs) -> Opened:
        blocks, layers = placed.blocks[1], all_linears(placed.blocks, placed.dense).values()
        found = look_for_zeros(placed, inputs.source, plan.recipe is not None)
        lost = left_out(inputs.config, placed.model)
        if placed.loaded.unexpected:
            say(f"the checkpoint holds {placed.loaded.unused()} that the model does not use")
        facts = {
            "unexpected_keys": placed.loaded.record(),
            "sparse": found.sparse,
            "kept_dense": kept_dense(blocks, placed.dense),
            "left_out": lost,
            "parameters": placed.model.num_parameters(),
            "prunable_parameters": sum(layer.weight.numel() for layer in layers),
        }
        matrices = (p.numel() for p in blocks.parameters() if p.dim() > 1)
        warnings = [*found.warnings, *([f"{LEFT_OUT}: {', '.join(lost)}"] if lost else [])]
        return cls(facts, sum(matrices), found, warnings)
