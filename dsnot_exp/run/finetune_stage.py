"""Trains the run's sparse model, with the run's clock and display around it."""

from __future__ import annotations

from typing import Any

from dsnot_exp.models.linears import all_linears
from dsnot_exp.models.placement import Placed
from dsnot_exp.run.clock import Clock
from dsnot_exp.run.inputs import Inputs
from dsnot_exp.run.plan import Plan
from dsnot_exp.utils.console import Display
from dsnot_exp.walk.sparsified import Sparsified


def finetune_stage(
    model: Placed, sparse: Sparsified, plan: Plan, inputs: Inputs, clock: Clock, display: Display
) -> dict[str, Any]:
    """Train the sparse layers in place under their masks; returns what result.json records."""
    finetuner, tokens = plan.finetuner, inputs.finetuning
    assert finetuner is not None
    assert tokens is not None
    layers = all_linears(model.blocks, model.dense)
    parameters = [f"{layer}.{matrix.name}" for layer, matrix in layers.items()]
    with clock("finetune"), display.phase("finetune", finetuner.steps) as bar:

        def on_step(loss: float) -> None:
            bar.at(f"loss {loss:.3f}")
            bar.advance()

        facts = finetuner(model.model, parameters, tokens.ids, plan.config.seed, on_step)
    for record in sparse.records:
        kept = int((layers[record.layer].weight == 0).sum()) >= record.zeros
        assert kept, f"{record.layer}: training changed its mask"
    return facts
