"""The checks and the tokens of a request about a model object: what run/prepare.py does for a model
that is still on disk."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from dsnot_exp.api.arguments import ArgumentError, in_arguments
from dsnot_exp.api.fit import shadow
from dsnot_exp.data.corpora import is_tokenised
from dsnot_exp.data.given import Given
from dsnot_exp.data.progress import Phase, unseen
from dsnot_exp.data.tokens import Tokens
from dsnot_exp.models.blocks import find_blocks
from dsnot_exp.models.loading import positions, refuse_larger_tokenizer
from dsnot_exp.models.source import Source
from dsnot_exp.run.check_allocation import settle_total
from dsnot_exp.run.check_model import refuse_unprunable_model, say_kept_dense, settle_lengths
from dsnot_exp.run.plan import Plan
from dsnot_exp.run.room import refuse_without_room
from dsnot_exp.run.slow_dtype import slow_dtype
from dsnot_exp.run.texts import Texts
from dsnot_exp.utils.console import Display


@dataclass(frozen=True)
class Requested:
    """calibration: None if no method needs it
    training: bytes of the device that the training of a block takes beside its weights
    """

    plan: Plan
    calibration: Tokens | None
    training: int
    warnings: list[str]


def source_of(model: Any) -> Source:
    """Where a model object says that it came from."""
    path = getattr(model.config, "_name_or_path", "") or type(model).__name__
    commit = getattr(model.config, "_commit_hash", None)
    return Source(path, revision=commit)


def request(
    model: Any,
    tokenizer: Any,
    plan: Plan,
    given: Mapping[str, Given],
    every: bool = False,
    phase: Phase = unseen,
) -> Requested:
    """Check a plan against the model, and draw the calibration tokens. every: take all of them that
    are given as token ids"""
    plan = _of_ids(plan, given, every)
    plan = settle_lengths(plan, positions(model.config))
    copied = shadow(model)
    kept = refuse_unprunable_model(plan, copied)
    blocks = find_blocks(copied, plan.config.model.blocks)
    plan = settle_total(plan, blocks)
    training = refuse_without_room(plan, blocks[1], model.dtype)
    say_kept_dense(kept)
    texts = texts_of(model, tokenizer, plan, given, phase)
    calibration = texts.calibration()
    found = list(calibration.warnings) if calibration is not None else []
    slow = slow_dtype(model.dtype, plan.device)
    return Requested(plan, calibration, training, [*found, *([slow] if slow else [])])


def _of_ids(plan: Plan, given: Mapping[str, Given], every: bool) -> Plan:
    """Sequences of token ids are as long as their rows, if no length was asked for. With `every`,
    all of them are samples, or held-out sequences where something is chosen on those."""
    data = given.get(plan.config.calib.dataset)
    if data is None or data.ids is None or data.ids.dim() not in (1, 2):
        return plan
    ids = torch.atleast_2d(data.ids)
    if plan.config.calib.seqlen is None and data.ids.dim() == 2:
        plan = _with_calib(plan, seqlen=max(2, ids.shape[1]))
    if not every:
        return plan
    seqlen = plan.config.calib.seqlen or ids.shape[1] or 1
    count = samples = len(ids) * (ids.shape[1] // seqlen)
    while samples > 1 and samples + _with_calib(plan, samples=samples).held_out > count:
        samples -= 1
    return _with_calib(plan, samples=max(1, samples))


def _with_calib(plan: Plan, **values: Any) -> Plan:
    calib = replace(plan.config.calib, **values)
    return replace(plan, config=replace(plan.config, calib=calib))


def texts_of(
    model: Any, tokenizer: Any, plan: Plan, given: Mapping[str, Given], phase: Phase
) -> Texts:
    """Raises if a text is to be tokenised without a tokenizer, or with another model's."""
    datasets = [("perplexity", name) for name in plan.config.eval.perplexity]
    if plan.needs_calibration:
        datasets.append(("calibration", plan.config.calib.dataset))
    for argument, name in datasets:
        ids = given[name].ids is not None if name in given else is_tokenised(name)
        if tokenizer is None and not ids:
            raise ArgumentError(
                f"tokenizer=None: {argument} is text; give the model's tokenizer, or token ids"
            )
    if tokenizer is not None:
        rows = model.config.get_text_config().vocab_size
        refuse_larger_tokenizer(type(model).__name__, tokenizer, rows)
    return Texts(plan, model.config, tokenizer, phase, given)


def phase_of(display: Display) -> Phase:
    """Progress whose labels name arguments."""
    return lambda name, total, what: display.phase(name, total, in_arguments(what))


def warn(found: list[str], level: int) -> None:
    """Warn of everything once. level: of the caller's caller"""
    for line in dict.fromkeys(map(in_arguments, found)):
        warnings.warn(line, UserWarning, stacklevel=level + 1)
