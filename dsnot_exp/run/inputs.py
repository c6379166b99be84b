"""Loads everything a run needs except the weights, and runs the checks that need it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch

from dsnot_exp.data.corpora import is_tokenised
from dsnot_exp.data.known_tokens import KnownTokens
from dsnot_exp.data.progress import Phase, unseen
from dsnot_exp.data.tokens import Tokens
from dsnot_exp.evaluate.tasks import Tasks, load_tasks, refuse_tokenizer_without_marks
from dsnot_exp.models.blocks import find_blocks
from dsnot_exp.models.kinds import refuse_other_kinds
from dsnot_exp.models.linears import all_linears
from dsnot_exp.models.loading import (
    TORCH_DTYPES,
    hidden_size,
    load_config,
    load_tokenizer,
    positions,
    refuse_broken_tokenizer,
    skeleton,
)
from dsnot_exp.models.open import check_files
from dsnot_exp.models.report import Report
from dsnot_exp.models.source import Source, locate
from dsnot_exp.run.check_allocation import settle_total
from dsnot_exp.run.check_model import (
    refuse_unprunable_model,
    say_kept_dense,
    settle_lengths,
)
from dsnot_exp.run.plan import Plan
from dsnot_exp.run.room import refuse_without_room
from dsnot_exp.run.slow_dtype import slow_dtype
from dsnot_exp.run.sparse_models import NO_MODELS, SparseModels
from dsnot_exp.run.texts import Texts
from dsnot_exp.utils.console import say
from dsnot_exp.utils.errors import RequestError


@dataclass(frozen=True)
class Inputs:
    """The inputs of a run: where the model is, its configuration and tokenizer, lm-eval's tasks,
    and tokens."""

    source: Source
    config: Any
    tokenizer: Any
    tasks: Tasks
    calibration: Tokens | None  # None if no method needs it
    finetuning: Tokens | None
    evaluation: dict[str, Tokens]
    task_bos: bool | None  # whether requests start with BOS; None: as the tokenizer does
    checked: Report | None  # the report of loading the weights; None if they are checked later
    state_bytes: int  # upper bound of the state on disk
    training_bytes: int = 0  # of the device, for the training of a block, beside its weights
    kept: SparseModels = NO_MODELS  # what earlier runs have kept
    kept_bytes: int = 0  # upper bound of what this run keeps on disk for others

    @property
    def calibrated(self) -> Tokens | KnownTokens | None:
        """What is known of the calibration tokens: they are not drawn where nothing needs them."""
        return self.calibration or self.kept.tokens

    def initializer_only(self) -> Inputs:
        """The inputs of the `pruned` stage."""
        calibration = self.calibration
        if calibration is not None:
            calibration = replace(calibration, held_out=None)
        kept = self.kept.without_held_out()
        return replace(self, calibration=calibration, kept=kept, finetuning=None)

    @property
    def warnings(self) -> list[str]:
        """What the user must know about the tokens, one sentence each."""
        texts = [self.calibrated, self.finetuning, *self.evaluation.values()]
        found = [line for text in texts if text is not None for line in text.warnings]
        return list(dict.fromkeys(found))  # two data sets may warn of the same tokenizer

    def records(self) -> dict[str, Any]:
        """The `data` field of result.json."""
        return {
            "calibration": self.calibrated.record() if self.calibrated else None,
            "finetune": self.finetuning.record() if self.finetuning else None,
            "evaluation": {name: text.record() for name, text in self.evaluation.items()},
        }


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
        state_bytes=(block_weights + _states(plan, config, calibration)) * dtype.itemsize,
        training_bytes=training_bytes,
        kept=kept,
        kept_bytes=kept.bytes_to_keep(prunable, dtype.itemsize),
    )
    slow = slow_dtype(dtype, plan.device)
    for warning in [*inputs.warnings, *([slow] if slow else [])]:
        say(f"warning   {warning}")
    return plan, inputs


def _states(plan: Plan, config: Any, calibration: Tokens | None) -> int:
    """The most entries of hidden states that are on disk together."""
    recipe = plan.recipe
    if recipe is None or calibration is None:
        return 0
    states = calibration.size * hidden_size(config) * (2 if recipe.dense_stream else 1)
    # The gradients of an allocator take the inputs of every block, before the walk begins.
    blocks = getattr(config.get_text_config(), "num_hidden_layers", 0)
    taken = min(getattr(recipe.allocator, "gradients", 0), len(calibration.ids))
    inputs = blocks * taken * calibration.ids.shape[1] * hidden_size(config)
    # 3 x: of two blocks while the newer is written, and a scratch file.
    return max(3 * states, inputs)


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
