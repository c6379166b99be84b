"""Everything that a run needs besides the weights, and the checks that need more than options."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from dsnot_exp.config import CalibConfig, EvalConfig
from dsnot_exp.data.tokens import (
    Tokens,
    calibration_tokens,
    evaluation_tokens,
    refuse_foreign_tokens,
)
from dsnot_exp.errors import RequestError
from dsnot_exp.evaluate.tasks import Tasks, load_tasks, refuse_tokenizer_without_marks
from dsnot_exp.models.blocks import find_blocks
from dsnot_exp.models.linears import linears, matches, refuse_unprunable
from dsnot_exp.models.loading import (
    TORCH_DTYPES,
    load_config,
    load_tokenizer,
    positions,
    skeleton,
)
from dsnot_exp.models.source import Source, locate
from dsnot_exp.plan import Plan

PAPER_SEQLEN = 2048


@dataclass(frozen=True)
class Inputs:
    """What a run reads: the model's place, and tokens."""

    source: Source
    tokenizer: Any
    tasks: Tasks
    calibration: Tokens | None  # None where nothing needs it
    finetuning: Tokens | None
    evaluation: dict[str, Tokens]
    state_bytes: int  # on disk, at most, until the run is finished


def prepare(plan: Plan) -> tuple[Plan, Inputs]:
    """The plan with its sequence lengths settled, and the inputs."""
    source = locate(plan.config.model)
    config = load_config(source)
    plan = _settle_lengths(plan, positions(config))
    block_weights = 0
    if plan.pruner is not None:
        model = skeleton(source, config)
        refuse_what_cannot_be_pruned(plan, model)
        blocks = find_blocks(model, plan.config.model.blocks)[1]
        block_weights = sum(p.numel() for p in blocks.parameters())
    calib, evaluation = plan.config.calib, plan.config.eval
    datasets = [*evaluation.perplexity, *([calib.dataset] if plan.needs_calibration else [])]
    datasets += [plan.finetuner.dataset] if plan.finetuner is not None else []
    needs_text = evaluation.tasks or any(not d.endswith(".safetensors") for d in datasets)
    tokenizer = _tokenizer(source, bool(needs_text), plan.config.save)
    if evaluation.tasks:
        refuse_tokenizer_without_marks(tokenizer, plan.config.model.path)
    vocabulary = config.get_text_config().vocab_size
    tasks = load_tasks(evaluation.tasks) if evaluation.tasks else {}
    calibration = _calibration(plan, tokenizer, vocabulary)
    states = 0 if calibration is None else calibration.ids.numel() * width(config)
    return plan, Inputs(
        source=source,
        tokenizer=tokenizer,
        tasks=tasks,
        calibration=calibration,
        finetuning=_finetuning(plan, tokenizer, vocabulary),
        evaluation=_evaluation(evaluation, tokenizer, vocabulary),
        # States: the last block's, those of the block before until then, and a scratch file.
        state_bytes=(block_weights + 3 * states) * weight_dtype(config, plan).itemsize,
    )


def weight_dtype(config: Any, plan: Plan) -> torch.dtype:
    """That of the weights in memory, as far as the configuration tells."""
    told = getattr(config, "dtype", None) or torch.float32
    return TORCH_DTYPES.get(plan.config.model.dtype, told)


def width(config: Any) -> int:
    """Of a hidden state."""
    found: int = config.get_text_config().hidden_size
    return found


def _tokenizer(source: Source, needed: bool, saved: bool) -> Any:
    """None where nothing needs it; to be saved beside the model it may be missing."""
    try:
        return load_tokenizer(source) if needed or saved else None
    except RequestError:
        if needed:
            raise
        return None


def _settle_lengths(plan: Plan, most: int | None) -> Plan:
    default = min(PAPER_SEQLEN, most or PAPER_SEQLEN)
    calib = replace(plan.config.calib, seqlen=plan.config.calib.seqlen or default)
    evaluation = replace(plan.config.eval, seqlen=plan.config.eval.seqlen or calib.seqlen)
    lengths = {"calib.seqlen": calib.seqlen, "eval.seqlen": evaluation.seqlen}
    finetuner, finetune = plan.finetuner, plan.config.finetune
    if finetuner is not None:
        finetuner = replace(finetuner, seqlen=finetuner.seqlen or calib.seqlen)
        finetune = {**finetune, "samples": finetuner.sequences, "seqlen": finetuner.seqlen}
        lengths["finetune.seqlen"] = finetuner.seqlen
    for key, length in lengths.items():
        if most is not None and length is not None and length > most:
            raise RequestError(f"{key}={length}: this model has {most} positions; at most {most}")
    config = replace(plan.config, calib=calib, eval=evaluation, finetune=finetune)
    return replace(plan, config=config, finetuner=finetuner)


def refuse_what_cannot_be_pruned(plan: Plan, model: nn.Module) -> None:
    """Blocks that cannot be found, matrices in no linear layer, widths that M does not divide,
    a `refine.skip` that matches nothing."""
    options = plan.config.model
    name, members = find_blocks(model, options.blocks)
    names: set[str] = set()
    everything: set[str] = set()
    for index, block in enumerate(members):
        refuse_unprunable(block, f"{name}.{index}", options.dense)
        for linear, matrix in linears(block, options.dense).items():
            layer = f"{name}.{index}.{linear}"
            plan.allocator(layer, plan.pattern).refuse_width(matrix.weight.shape[1], layer)
            if plan.finetuner is not None:
                plan.finetuner.refuse(layer, matrix)
            names.add(linear)
        everything |= {*linears(block), *(n for n, _ in block.named_parameters())}
    _refuse_unmatched("model.dense", options.dense, everything)
    _refuse_unmatched("refine.skip", plan.refiner.skip if plan.refiner is not None else [], names)


def _refuse_unmatched(key: str, globs: list[str], names: set[str]) -> None:
    """A glob that matches nothing would silently do nothing."""
    for glob in globs:
        if not any(matches(name, glob) for name in names):
            shown = sorted({re.sub(r"\.\d+\.", ".*.", name) for name in names})
            raise RequestError(
                f"{key}={glob}: matches no layer of a block; choose from {', '.join(shown)}"
            )


def _calibration(plan: Plan, tokenizer: Any, vocabulary: int) -> Tokens | None:
    if not plan.needs_calibration:
        return None
    calib: CalibConfig = plan.config.calib
    assert calib.seqlen is not None
    tokens = calibration_tokens(
        calib.dataset, calib.samples, calib.seqlen, plan.config.seed, tokenizer
    )
    refuse_foreign_tokens(f"calib.dataset={calib.dataset}", tokens.ids, vocabulary)
    return tokens


def _finetuning(plan: Plan, tokenizer: Any, vocabulary: int) -> Tokens | None:
    options = plan.finetuner
    if options is None:
        return None
    assert options.seqlen is not None
    tokens = calibration_tokens(
        options.dataset, options.sequences, options.seqlen, plan.config.seed, tokenizer, "finetune"
    )
    refuse_foreign_tokens(f"finetune.dataset={options.dataset}", tokens.ids, vocabulary)
    return tokens


def _evaluation(evaluation: EvalConfig, tokenizer: Any, vocabulary: int) -> dict[str, Tokens]:
    assert evaluation.seqlen is not None
    texts: dict[str, Tokens] = {}
    for name in evaluation.perplexity:
        texts[name] = evaluation_tokens(name, evaluation.seqlen, tokenizer)
        refuse_foreign_tokens(f"eval.perplexity={name}", texts[name].ids, vocabulary)
    return texts
