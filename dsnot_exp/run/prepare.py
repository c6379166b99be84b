"""Loads everything a run needs except the weights, and runs the checks that need it."""

from __future__ import annotations

from typing import Any

import torch

from dsnot_exp.data.corpora import is_tokenised
from dsnot_exp.data.progress import Phase, unseen
from dsnot_exp.evaluate.tasks import load_tasks, refuse_tokenizer_without_marks
from dsnot_exp.models.blocks import find_blocks
from dsnot_exp.models.kinds import refuse_other_kinds
from dsnot_exp.models.linears import all_linears
from dsnot_exp.models.loading import (
    TORCH_DTYPES,
    load_config,
    load_tokenizer,
    positions,
    refuse_broken_tokenizer,
    skeleton,
)
from dsnot_exp.models.open import check_files
from dsnot_exp.models.source import Source, locate
from dsnot_exp.run.check_allocation import settle_total
from dsnot_exp.run.check_model import (
    refuse_unprunable_model,
    say_kept_dense,
    settle_lengths,
)
from dsnot_exp.run.disk import state_bytes
from dsnot_exp.run.inputs import Inputs
from dsnot_exp.run.plan import Plan
from dsnot_exp.run.room import refuse_without_room
from dsnot_exp.run.slow_dtype import slow_dtype
from dsnot_exp.run.sparse_models import SparseModels
from dsnot_exp.run.texts import Texts
from dsnot_exp.utils.console import say
from dsnot_exp.utils.errors import RequestError


def prepare(plan: Plan, phase: Phase = unseen) -> tuple[Plan, Inputs]:
    """Resolve the sequence lengths of `plan` and load its inputs. `phase` shows progress."""
    source = locate(plan.config.model)
    config = load_config(source)
    refuse_other_kinds(source.place, config)
    plan = settle_lengths(plan, positions(config))
    dtype = weight_dtype(config, plan)
    block_weights = training_bytes = prunable = 0
    if plan.recipe is not None:
        model = skeleton(source, config)
        say_kept_dense(refuse_unprunable_model(plan, model))
        blocks = find_blocks(model, plan.config.model.blocks)
        plan = settle_total(plan, blocks)
        training_bytes = refuse_without_room(plan, blocks[1], dtype)
        prunable = sum(
            m.weight.numel() for m in all_linears(blocks, plan.config.model.dense).values()
        )
        block_weights = sum(p.numel() for p in blocks[1].parameters())
    checked = check_files(source, plan.config.model, config)
    calib, evaluation = plan.config.calib, plan.config.eval
    kept = SparseModels.of(plan, source)
    draws = plan.needs_calibration and not kept.complete
    datasets = [*evaluation.perplexity, *([calib.dataset] if draws else [])]
    datasets += [plan.finetuner.dataset] if plan.finetuner is not None else []
    needs_text = evaluation.tasks or not all(map(is_tokenised, datasets))
    vocabulary = config.get_text_config().vocab_size
    tokenizer = _tokenizer(source, bool(needs_text), plan.config.save, vocabulary)
    if evaluation.tasks:
        refuse_tokenizer_without_marks(tokenizer, plan.config.model.path)
    tasks = load_tasks(evaluation.tasks) if evaluation.tasks else {}
    texts = Texts(plan, config, tokenizer, phase)
    calibration = texts.calibration() if draws else None
    inputs = Inputs(
        source=source,
        config=config,
        tokenizer=tokenizer,
        tasks=tasks,
        calibration=calibration,
        finetuning=texts.finetuning(),
        evaluation=texts.evaluation(),
        task_bos=texts.bos("eval").of_tasks,
        checked=checked,
        state_bytes=state_bytes(plan, config, block_weights, dtype.itemsize, draws),
        training_bytes=training_bytes,
        kept=kept,
        kept_bytes=kept.bytes_to_keep(prunable, dtype.itemsize),
    )
    slow = slow_dtype(dtype, plan.device)
    for warning in [*inputs.warnings, *([slow] if slow else [])]:
        say(f"warning   {warning}")
    return plan, inputs


def weight_dtype(config: Any, plan: Plan) -> torch.dtype:
    """The dtype of the weights in memory, according to the model's configuration."""
    configured = getattr(config, "dtype", None) or torch.float32
    return TORCH_DTYPES.get(plan.config.model.dtype, configured)


def _tokenizer(source: Source, needed: bool, saved: bool, vocabulary: int) -> Any:
    """None if nothing needs it. A tokenizer only to be saved with the model may be missing, but not
    broken."""
    if not needed and not saved:
        return None
    refuse_broken_tokenizer(source)
    if needed:
        return load_tokenizer(source, vocabulary)
    try:
        return load_tokenizer(source)
    except RequestError:
        return None
