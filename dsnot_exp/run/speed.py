"""Measures a run's sparse model beside its base model, on this machine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import torch

from dsnot_exp.config import ModelConfig
from dsnot_exp.evaluate.speed import NEW, PAIRS, Speed, compare
from dsnot_exp.models.loading import load_config, load_model, positions
from dsnot_exp.models.source import locate
from dsnot_exp.results.file import has_model
from dsnot_exp.run.device import device_of
from dsnot_exp.run.restored import restorable, restored, saved
from dsnot_exp.utils import accelerator
from dsnot_exp.utils.errors import RunError, first_line

PROMPT = 32  # tokens


def measure_speed(run: Path, result: dict[str, Any]) -> tuple[Speed, str]:
    """The speed, and a sentence on how it was measured. Both models are in memory at once. Raises
    RequestError or RunError if one of them is not to be had."""
    options = replace(ModelConfig(**result["config"]["model"]), streaming="false")
    device = device_of(result["config"]["device"])
    _refuse_large(run, result)
    try:
        sparse = saved(run) if has_model(run) else restored(options, restorable(run, result))
        source = locate(options)
        dense, _ = load_model(source, options.dtype, options.use_safetensors)
        room = (positions(load_config(source)) or PROMPT + NEW) - NEW
        generator = torch.Generator().manual_seed(0)
        size = (1, max(1, min(PROMPT, room)))
        prompt = torch.randint(dense.config.get_text_config().vocab_size, size, generator=generator)
        speed = compare(dense.to(device), sparse.to(device), prompt.to(device))
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise RunError(f"--measure: {run}: out of memory ({first_line(error)})") from error
    count = torch.get_num_threads()
    threads = f", {count} thread{'s' if count > 1 else ''}" if device.type == "cpu" else ""
    name = accelerator.name(device)
    return speed, (
        f"one sequence, {size[1]} tokens of prompt, {NEW} generated, {dense.dtype} on {name}"
        f"{threads}; medians of {PAIRS} pairs"
    ).replace("torch.", "")


def _refuse_large(run: Path, result: dict[str, Any]) -> None:
    """Raise if the two models would not fit into memory, as far as that is known."""
    parameters = result["model"].get("parameters") or 0
    width = 2 if result["config"]["model"]["dtype"] in ("bfloat16", "float16") else 4
    needed, free = 2 * parameters * width, psutil.virtual_memory().available
    if needed > free:
        raise RunError(
            f"--measure: {run}: the dense and the sparse model need up to {needed / 1e9:.1f} GB "
            f"together, and {free / 1e9:.1f} GB of memory are free; measure on a larger machine"
        )
