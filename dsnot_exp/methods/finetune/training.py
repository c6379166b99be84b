"""The training loop: transformers' Trainer, without output, files or reports."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from dsnot_exp.methods.finetune.options import TrainingOptions
from dsnot_exp.utils import accelerator
from dsnot_exp.utils.accelerator import is_accelerator
from dsnot_exp.utils.batch_size import per_forward
from dsnot_exp.utils.errors import RunError

NAMED = "ACCELERATE_TORCH_DEVICE"  # the environment variable


def train(
    model: Any, ids: Tensor, options: TrainingOptions, seed: int, on_step: Callable[[float], None]
) -> list[float]:
    """Train the parameters that require a gradient on `ids: (sequences, tokens)`, with the model's
    own causal loss; returns the loss of every step."""
    losses = Losses(on_step)
    with tempfile.TemporaryDirectory(prefix="dsnot-exp-finetune-") as folder, told(model.device):
        arguments = training_arguments(folder, model, ids.shape[1], options, seed)
        assert arguments.device.type == model.device.type  # else the model would move
        trainer = Trainer(
            model=model,
            args=arguments,
            train_dataset=[{"input_ids": row, "labels": row} for row in ids],
            callbacks=[losses],
        )
        trainer.remove_callback(PrinterCallback)
        if options.checkpointing:  # not reentrant: the embeddings have no gradient
            model.gradient_checkpointing_enable({"use_reentrant": False})
        try:
            trainer.train()
        except torch.OutOfMemoryError as error:
            raise RunError(
                "finetune=lora: out of memory on the device; set finetune.checkpointing=true, or "
                "lower finetune.seqlen"
            ) from error
        finally:
            if options.checkpointing:
                model.gradient_checkpointing_disable()
    return losses.seen


@contextmanager
def told(device: torch.device) -> Iterator[None]:
    """In this context accelerate computes on `device`, whose kind it may not know by itself."""
    before = os.environ.get(NAMED)
    number = f":{accelerator.index(device)}" if is_accelerator(device) else ""
    os.environ[NAMED] = device.type + number
    try:
        yield
    finally:
        os.environ.pop(NAMED)
        if before is not None:
            os.environ[NAMED] = before


def training_arguments(
    folder: str, model: Any, seqlen: int, options: TrainingOptions, seed: int
) -> TrainingArguments:
    device, size = model.device, options.batch_size
    forward = max(n for n in range(1, min(size, per_forward(seqlen)) + 1) if size % n == 0)
    arguments = TrainingArguments(
        output_dir=folder,
        max_steps=options.steps,
        per_device_train_batch_size=forward,
        gradient_accumulation_steps=size // forward,
        learning_rate=options.learning_rate,
        lr_scheduler_type=options.schedule,
        warmup_steps=round(options.warmup * options.steps),
        fp16=is_accelerator(device) and model.dtype == torch.float16,  # scales the loss
        use_cpu=not is_accelerator(device),
        dataloader_pin_memory=is_accelerator(device),
        remove_unused_columns=False,
        seed=seed,
        logging_steps=1,
        logging_nan_inf_filter=False,
        disable_tqdm=True,
        report_to="none",
        save_strategy="no",
    )
    if arguments.n_gpu > 1:
        arguments._n_gpu = 1  # else Trainer spreads the batch over all GPUs
    return arguments


class Losses(TrainerCallback):
    """Records the loss of every step; stops the run if the loss is not finite."""

    def __init__(self, on_step: Callable[[float], None]) -> None:
        self.on_step, self.seen = on_step, list[float]()

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any
    ) -> None:
        if logs is None or "loss" not in logs:  # the summary at the end
            return
        loss = float(logs["loss"])
        if not math.isfinite(loss):
            raise RunError(
                f"finetune=lora: the loss is {loss} at step {state.global_step}; lower "
                "finetune.learning_rate, or use model.dtype=bfloat16 instead of float16"
            )
        self.seen.append(loss)
        self.on_step(loss)
