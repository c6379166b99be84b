"""Loads everything a run needs except the weights, and runs the checks that need it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from dsnot_exp.config import CalibConfig, EvalConfig
from dsnot_exp.data.tokens import (
    Tokens,
    calibration_tokens,
    evaluation_tokens,
    refuse_foreign_tokens,
)
from dsnot_exp.evaluate.tasks import Tasks, load_tasks, refuse_tokenizer_without_marks
from dsnot_exp.models.blocks import find_blocks
from dsnot_exp.models.loading import (
    TORCH_DTYPES,
    hidden_size,
    load_config,
    load_tokenizer,
    positions,
    skeleton,
)
from dsnot_exp.models.source import Source, locate
from dsnot_exp.run.check_model import refuse_unprunable_model, settle_lengths
from dsnot_exp.run.plan import Plan
from dsnot_exp.utils.errors import RequestError


@dataclass(frozen=True)
class Inputs:
    """The inputs of a run: where the model is, its tokenizer, lm-eval's tasks, and tokens."""

    source: Source
    tokenizer: Any
    tasks: Tasks
    calibration: Tokens | None  # None if no method needs it
    finetuning: Tokens | None
    evaluation: dict[str, Tokens]
    state_bytes: int  # upper bound of the state on disk

    def records(self) -> dict[str, Any]:
        """The `data` field of result.json."""
        return {
            "calibration": self.calibration.record() if self.calibration else None,
            "finetune": self.finetuning.record() if self.finetuning else None,
            "evaluation": {name: text.record() for name, text in self.evaluation.items()},
        }


def prepare(plan: Plan) -> tuple[Plan, Inputs]:
    """Resolve the sequence lengths of `plan` and load its inputs."""
    source = locate(plan.config.model)
    config = load_config(source)
    plan = settle_lengths(plan, positions(config))
    block_weights = 0
    if plan.recipe is not None:
        model = skeleton(source, config)
        refuse_unprunable_model(plan, model)
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
    states = 0 if calibration is None else calibration.ids.numel() * hidden_size(config)
    return plan, Inputs(
        source=source,
        tokenizer=tokenizer,
        tasks=tasks,
        calibration=calibration,
        finetuning=_finetuning(plan, tokenizer, vocabulary),
        evaluation=_evaluation(evaluation, tokenizer, vocabulary),
        # 3 x hidden states: of two blocks while the newer is written, and a scratch file.
        state_bytes=(block_weights + 3 * states) * weight_dtype(config, plan).itemsize,
    )


def weight_dtype(config: Any, plan: Plan) -> torch.dtype:
    """The dtype of the weights in memory, according to the model's configuration."""
    configured = getattr(config, "dtype", None) or torch.float32
    return TORCH_DTYPES.get(plan.config.model.dtype, configured)


def _tokenizer(source: Source, needed: bool, saved: bool) -> Any:
    """None if nothing needs it. A tokenizer only to be saved with the model may be missing."""
    try:
        return load_tokenizer(source) if needed or saved else None
    except RequestError:
        if needed:
            raise
        return None


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
