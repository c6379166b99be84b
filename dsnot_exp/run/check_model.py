"""Checks a plan against the model: sequence lengths, and which layers can be pruned. The checks
need the model's configuration, not its weights."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any, cast

from torch import nn

from dsnot_exp.models.blocks import find_blocks
from dsnot_exp.models.linears import all_linears, linears, matches, refuse_unprunable
from dsnot_exp.run.plan import Plan
from dsnot_exp.utils.errors import RequestError

PAPER_SEQLEN = 2048


def settle_lengths(plan: Plan, positions: int | None) -> Plan:
    """Fill in the sequence lengths that are null.

    positions: the longest sequence that the model accepts; None: no limit
    """
    default = min(PAPER_SEQLEN, positions or PAPER_SEQLEN)
    calib = replace(plan.config.calib, seqlen=plan.config.calib.seqlen or default)
    evaluation = replace(plan.config.eval, seqlen=plan.config.eval.seqlen or calib.seqlen)
    lengths = {"calib.seqlen": calib.seqlen, "eval.seqlen": evaluation.seqlen}
    finetuner, finetune = plan.finetuner, plan.config.finetune
    if finetuner is not None:
        finetuner = replace(cast(Any, finetuner), seqlen=finetuner.seqlen or calib.seqlen)
        finetune = {**finetune, "samples": finetuner.sequences, "seqlen": finetuner.seqlen}
        lengths["finetune.seqlen"] = finetuner.seqlen
    for key, length in lengths.items():
        if positions is not None and length is not None and length > positions:
            raise RequestError(
                f"{key}={length}: this model has {positions} positions; choose {positions} or fewer"
            )
    config = replace(plan.config, calib=calib, eval=evaluation, finetune=finetune)
    return replace(plan, config=config, finetuner=finetuner)


def refuse_unprunable_model(plan: Plan, model: nn.Module) -> None:
    """Raise if the blocks cannot be found, if a weight matrix is outside any linear layer, if M
    does not divide a layer's width, or if `model.dense` or `refine.skip` matches no layer."""
    options, recipe = plan.config.model, plan.recipe
    assert recipe is not None
    name, members = blocks = find_blocks(model, options.blocks)
    names: set[str] = set()
    everything: set[str] = set()
    for index, block in enumerate(members):
        refuse_unprunable(block, f"{name}.{index}", options.dense)
        names |= {*linears(block, options.dense)}
        everything |= {*linears(block), *(n for n, _ in block.named_parameters())}
    layers = all_linears(blocks, options.dense)
    if plan.finetuner is not None:
        for layer, matrix in layers.items():
            plan.finetuner.refuse(layer, is_expert=matrix.expert is not None)
    for layer, pattern in recipe.allocator(list(layers), recipe.pattern).items():
        pattern.refuse_width(layers[layer].weight.shape[1], layer)
    _refuse_unmatched("model.dense", options.dense, everything)
    skip = recipe.refiner.skip if recipe.refiner is not None else []
    _refuse_unmatched("refine.skip", skip, names)


def _refuse_unmatched(key: str, globs: list[str], names: set[str]) -> None:
    """Raise for a glob without a match; it would have no effect."""
    for glob in globs:
        if not any(matches(name, glob) for name in names):
            shown = sorted({re.sub(r"\.\d+\.", ".*.", name) for name in names})
            raise RequestError(
                f"{key}={glob}: matches no layer of a block; choose from {', '.join(shown)}"
            )
