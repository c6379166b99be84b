"""Checks a plan against the model: sequence lengths, and which layers can be pruned. The checks
need the model's configuration, not its weights."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

from torch import nn

from dsnot_exp.models.blocks import (
    NOT_ALONE,
    NOT_ENTERED,
    NOT_ONCE,
    NOT_SEQUENCES,
    find_blocks,
    refuse_shared_parameters,
)
from dsnot_exp.models.kept_dense import NO_PRODUCT, NOT_CALLED, refuse_layers
from dsnot_exp.models.linears import (
    all_linears,
    is_routed,
    kept_dense,
    linears,
    matches,
    owned,
    refuse_unprunable_blocks,
)
from dsnot_exp.models.loading import positions
from dsnot_exp.models.probe import Layer, probe
from dsnot_exp.run.check_allocation import known_patterns
from dsnot_exp.run.check_memory import refuse_too_large
from dsnot_exp.run.plan import Plan
from dsnot_exp.utils.console import say
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


def refuse_unprunable_model(plan: Plan, model: nn.Module) -> dict[str, str]:
    """Raise if the blocks cannot be found, if a weight matrix is outside any linear layer, if M
    does not divide a layer's width, if matrices do not fit, or if `model.dense` or `refine.skip`
    matches no layer. Returns what stays dense by itself, and why.

    model: on the meta device, and of no use afterwards
    """
    options, recipe = plan.config.model, plan.recipe
    assert recipe is not None
    name, members = blocks = find_blocks(model, options.blocks)
    if options.streaming == "true":
        refuse_shared_parameters(blocks)
    wrong = _uncollected(model, blocks, options.dense) if plan.needs_calibration else {}
    others = [layer for _, layer in wrong]
    refuse_unprunable_blocks(name, dict(members.named_children()), options.dense, others)
    refuse_layers(wrong, options.dense)
    names: set[str] = set()
    everything: set[str] = set()
    for block in members:
        names |= {*linears(block, options.dense)}
        everything |= {*linears(block), *(n for n, _ in block.named_parameters())}
    layers = all_linears(blocks, options.dense)
    if plan.finetuner is not None:
        for layer, matrix in layers.items():
            plan.finetuner.refuse(layer, is_expert=matrix.expert is not None)
    refuse_too_large(plan, layers)
    for layer, pattern in known_patterns(recipe, list(layers)).items():
        pattern.refuse_width(layers[layer].weight.shape[1], layer)
    _refuse_unmatched("model.dense", options.dense, everything)
    skip = recipe.refiner.skip if recipe.refiner is not None else []
    _refuse_unmatched("refine.skip", skip, names)
    if not layers:
        raise RequestError(f"{name}: no layer is left to prune; shorten model.dense")
    return kept_dense(members, options.dense)


def say_kept_dense(kept: dict[str, str]) -> None:
    if kept:
        say("kept dense: " + ", ".join(f"{name} ({why})" for name, why in kept.items()))


def _uncollected(
    model: nn.Module, blocks: tuple[str, nn.ModuleList], dense: Sequence[str]
) -> dict[Layer, str]:
    """The layers whose inputs the walk cannot see, and why: one forward shows it. Raises if the
    walk cannot go through the blocks. `model`: on the meta device, and of no use afterwards."""
    name, members = blocks
    layers = {
        (f"{name}.{index}", layer): linear
        for index, own in enumerate(owned(members, dense))
        for layer, linear in own.items()
        if linear.expert is None and not is_routed(layer)
    }
    config: Any = model.config
    found = probe(model, members, layers, positions(config))
    if found is None:
        return {}
    for wrong, what in (
        (not found.calls, NOT_ENTERED),
        (found.calls != list(range(len(members))), NOT_ONCE),
        (not found.walks, NOT_SEQUENCES),
        (not found.alone, NOT_ALONE),
    ):
        if wrong:
            raise RequestError(f"{type(model).__name__}: {what}")
    uncalled = {layer: NOT_CALLED for layer in layers if layer not in found.called}
    return uncalled | {layer: NO_PRODUCT for layer in layers if layer in found.unusual}


def _refuse_unmatched(key: str, globs: list[str], names: set[str]) -> None:
    """Raise for a glob without a match; it would have no effect."""
    for glob in globs:
        if not any(matches(name, glob) for name in names):
            shown = sorted({re.sub(r"\.\d+\.", ".*.", name) for name in names})
            raise RequestError(
                f"{key}={glob}: matches no layer of a block; choose from {', '.join(shown)}"
            )
