"""Open a located model for the walk: whole on the device, block by block from memory, or block by
block from its checkpoint on disk."""

from __future__ import annotations

import psutil
import torch

from dsnot_exp.config import ModelConfig
from dsnot_exp.models.blocks import find_blocks
from dsnot_exp.models.checkpoint import Checkpoint, checkpoint_bytes, hollow, shard_files
from dsnot_exp.models.loading import MEMORY_SHARE, load_config, load_model
from dsnot_exp.models.placement import Placed, place
from dsnot_exp.models.source import Source
from dsnot_exp.models.streamed import Streamed
from dsnot_exp.utils.errors import RequestError


def open_model(source: Source, options: ModelConfig, device: torch.device) -> Placed:
    if streams(source, options):
        return stream(source, options, device)
    model = load_model(source, options.dtype, options.use_safetensors)
    return place(model, find_blocks(model, options.blocks), device, options.dense)


def streams(source: Source, options: ModelConfig) -> bool:
    """Whether blocks are read from disk. `auto`: if the weights would fill the memory."""
    if options.streaming == "false":
        return False
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
    size = checkpoint_bytes(load_config(source), files, options.dtype)
    return size > MEMORY_SHARE * psutil.virtual_memory().available


def stream(source: Source, options: ModelConfig, device: torch.device) -> Streamed:
    files = shard_files(source)
    assert files is not None
    model = hollow(source, load_config(source), files, options.dtype)
    blocks = find_blocks(model, options.blocks)
    checkpoint = Checkpoint(files, model, blocks)
    checkpoint.load_around(device)
    return Streamed(
        model,
        blocks,
        device,
        dense=options.dense,
        checkpoint=checkpoint,
        source=source,
        dtype=options.dtype,
    )
