"""Open a located model for the walk: whole on the device, block by block from memory, or block by
block from its checkpoint on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psutil
import torch

from dsnot_exp.config import ModelConfig
from dsnot_exp.models.blocks import find_blocks
from dsnot_exp.models.checkpoint import Checkpoint, checkpoint_bytes, hollow
from dsnot_exp.models.files import (
    files_here,
    read_headers,
    refuse_broken_pickles,
    refuse_without_index,
    shard_files,
)
from dsnot_exp.models.loading import MEMORY_SHARE, load_config, load_model, skeleton
from dsnot_exp.models.placement import Placed, place
from dsnot_exp.models.report import Report, from_headers, refuse_incomplete
from dsnot_exp.models.source import Source
from dsnot_exp.models.streamed import Streamed
from dsnot_exp.utils.errors import RequestError


def check_files(source: Source, options: ModelConfig, config: Any) -> Report | None:
    """Raise if a file on this machine is broken, or if the checkpoint lacks a weight. Returns None
    if the weights are no safetensors files or must be downloaded first; they are checked later."""
    refuse_streaming_gguf(source, options)
    if not options.use_safetensors:
        refuse_broken_pickles(source)
        return None
    files = files_here(source)
    if files is not None:
        return check_headers(source, files, config)
    if not getattr(config, "transformers_weights", None):  # a file of another name
        refuse_without_index(source)
    return None


def check_headers(source: Source, files: list[Path], config: Any) -> Report:
    """The report of loading the files, from their headers alone. Raises if a weight is missing."""
    report = from_headers(skeleton(source, config), read_headers(source, files))
    refuse_incomplete(source.place, report)
    return report


def open_model(
    source: Source,
    options: ModelConfig,
    device: torch.device,
    checked: Report | None = None,
    training: int = 0,
) -> Placed:
    """checked: what `check_files` has returned, if it was called; training: bytes of the device
    that the training of a block takes beside the weights"""
    if streams(source, options):
        return stream(source, options, device, checked)
    files = shard_files(source) if options.use_safetensors else None
    if files is not None and checked is None:
        check_headers(source, files, load_config(source))
    model, report = load_model(source, options.dtype, options.use_safetensors)
    blocks = find_blocks(model, options.blocks)
    return place(model, blocks, device, options.dense, report, training)


def streams(source: Source, options: ModelConfig) -> bool:
    """Whether blocks are read from disk. `auto`: if the weights would fill the memory."""
    if options.streaming == "false":
        return False
    refuse_streaming_gguf(source, options)
    files = shard_files(source) if options.use_safetensors else None
    if files is None:
        if options.streaming == "auto":
            return False
        raise RequestError(
            f"model.streaming=true: streaming {source.path} needs .safetensors files; convert it "
            "with save_pretrained, or choose model.streaming=false"
        )
    if options.streaming == "true":
        return True
    read_headers(source, files)
    size = checkpoint_bytes(load_config(source), files, options.dtype)
    return fills_memory(size)


def fills_memory(weights: int) -> bool:
    """Whether weights of so many bytes are too many for the memory: blocks are read from disk."""
    return weights > MEMORY_SHARE * psutil.virtual_memory().available


def refuse_streaming_gguf(source: Source, options: ModelConfig) -> None:
    if source.gguf is not None and options.streaming == "true":
        raise RequestError(
            f"model.streaming=true: {source.place} is dequantised as a whole and cannot be "
            "streamed; choose model.streaming=auto, or convert it to .safetensors"
        )


def stream(
    source: Source, options: ModelConfig, device: torch.device, checked: Report | None = None
) -> Streamed:
    files = shard_files(source)
    assert files is not None
    config = load_config(source)
    report = checked or check_headers(source, files, config)
    model = hollow(source, config, files, options.dtype)
    blocks = find_blocks(model, options.blocks)
    checkpoint = Checkpoint(files, model, blocks)
    checkpoint.load_around(device)
    return Streamed(
        model,
        blocks,
        device,
        dense=options.dense,
        loaded=report,
        checkpoint=checkpoint,
        source=source,
        dtype=options.dtype,
    )
