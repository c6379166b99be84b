"""A model whose blocks are loaded from its checkpoint shards, one at a time.

transformers renames and merges a checkpoint's tensors: expert matrices become one parameter. This
module applies transformers' own rules to the tensors of one block, in both directions.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from torch import Tensor, nn
from transformers import AutoModelForCausalLM
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import (
    WeightConverter,
    WeightRenaming,
    rename_source_key,
    revert_weight_conversion,
)

from dsnot_exp.models.loading import TORCH_DTYPES
from dsnot_exp.models.report import load_tensors
from dsnot_exp.models.shards import Shards, size_in
from dsnot_exp.models.source import Source
from dsnot_exp.utils.errors import RunError


class Checkpoint:
    """A model's checkpoint shards, and the place of each tensor in the model.

    around: keys of the tensors outside the blocks
    inside: for each block, the keys of its tensors
    bare: whether the keys lack the prefix of the whole model, as those of a base model do
    """

    def __init__(self, files: list[Path], model: Any, blocks: tuple[str, nn.ModuleList]) -> None:
        self.shards = Shards(files)
        self.model = model
        name, members = blocks
        mapping = get_model_conversion_mapping(model)
        renamings = [one for one in mapping if isinstance(one, WeightRenaming)]
        converters = [one for one in mapping if isinstance(one, WeightConverter)]
        known: dict[str, Any] = model.state_dict()
        prefix = model.base_model_prefix
        self.around: list[str] = []
        self.inside: list[list[str]] = [[] for _ in members]
        for key in self.shards.entries:
            target, _ = rename_source_key(key, renamings, converters, prefix, known)
            if target not in known and key in known:
                target = key
            block = re.match(rf"{re.escape(name)}\.(\d+)\.", target)
            if target not in known:  # `report` names what the model has no use for
                continue
            (self.around if block is None else self.inside[int(block[1])]).append(key)
        start = f"{prefix}."
        self.bare = name.startswith(start) and not any(
            key.startswith(start) for keys in self.inside for key in keys
        )

    def load(self, tensors: dict[str, Tensor], device: torch.device) -> None:
        """Load tensors with the checkpoint's names into the model."""
        found = load_tensors(self.model, tensors, device)
        wrong = [*found.conversion_errors, *found.mismatched_keys, *found.error_msgs]
        if wrong:
            raise RunError(f"{wrong[0]}: does not fit the model; the checkpoint is damaged")

    def load_around(self, device: torch.device) -> None:
        """Load the embeddings, the final norm and the head."""
        self.load(self.shards.read(self.around), device)
        outside = {n for n, p in self.model.named_parameters() if p.is_meta}
        self.model.tie_weights(missing_keys=outside, recompute_mapping=False)
        for module in self.model.modules():
            for name, buffer in module.named_buffers(recurse=False):
                module._buffers[name] = buffer.to(device)

    def revert(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Convert tensors of the model to the checkpoint's names and layout."""
        reverted: dict[str, Tensor] = revert_weight_conversion(self.model, tensors)
        if self.bare:
            start = f"{self.model.base_model_prefix}."
            return {key.removeprefix(start): tensor for key, tensor in reverted.items()}
        return reverted


def hollow(source: Source, config: Any, files: list[Path], dtype: str) -> Any:
    """The model with its weights on the meta device. Its buffers are real."""
    with init_empty_weights(include_buffers=False):
        model = AutoModelForCausalLM.from_config(
            config,
            dtype=checkpoint_dtype(config, files, dtype),
            trust_remote_code=source.trust_remote_code,
        )
    return model.eval().requires_grad_(False)


def checkpoint_dtype(config: Any, files: list[Path], dtype: str) -> torch.dtype:
    """For `auto`, the configuration's dtype, else that of the first floating-point tensor."""
    if dtype != "auto":
        return TORCH_DTYPES[dtype]
    if isinstance(configured := getattr(config, "dtype", None), torch.dtype):
        return configured
    entries = Shards(files[:1]).entries.values()
    return next((e.dtype for e in entries if e.dtype.is_floating_point), torch.float32)


def checkpoint_bytes(config: Any, files: list[Path], dtype: str) -> int:
    """Bytes of the model's weights in memory."""
    return size_in(Shards(files).entries.values(), checkpoint_dtype(config, files, dtype))
