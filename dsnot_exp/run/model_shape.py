"""What is known of a model from its configuration alone: no weight is read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import nn

from dsnot_exp.config import ModelConfig
from dsnot_exp.models.blocks import find_blocks
from dsnot_exp.models.checkpoint import hollow
from dsnot_exp.models.kinds import refuse_other_kinds
from dsnot_exp.models.linears import Linear, owned
from dsnot_exp.models.loading import load_config
from dsnot_exp.models.open import fills_memory
from dsnot_exp.models.placement import fits, weight_bytes
from dsnot_exp.models.source import Source
from dsnot_exp.utils.errors import RequestError


def model_key(options: ModelConfig) -> str:
    """Equal for two runs that load the same model in the same way."""
    return repr(replace(options, perplexity=[], tasks=[], max_cycles="auto"))


@dataclass(frozen=True)
class ModelShape:
    """model: with its weights on the meta device, and real buffers
    streamable: its blocks can be read from disk one at a time
    """

    options: ModelConfig
    model: Any
    blocks: tuple[str, nn.ModuleList]
    streamable: bool = True

    @classmethod
    def of(cls, options: ModelConfig, source: Source) -> ModelShape:
        """Raises RequestError if transformers does not know the model, or if it cannot be walked
        block by block."""
        config = load_config(source)
        refuse_other_kinds(source.place, config)
        try:
            model = hollow(source, config, [], options.dtype)
        except (OSError, ValueError, KeyError, ImportError, AttributeError, TypeError) as error:
            raise RequestError(f"model.path={source.place}: {error}") from error
        model.tie_weights()  # tied weights count once
        streamable = options.use_safetensors and source.gguf is None
        return cls(options, model, find_blocks(model, options.blocks), streamable)

    @property
    def key(self) -> str:
        return model_key(self.options)

    @property
    def dtype(self) -> torch.dtype:
        found: torch.dtype = self.model.dtype
        return found

    @cached_property
    def parameters(self) -> int:
        return int(self.model.num_parameters())

    @cached_property
    def weight_bytes(self) -> int:
        return weight_bytes(self.model)

    @property
    def block_bytes(self) -> int:
        """Of the largest block."""
        return max(weight_bytes(block) for block in self.blocks[1])

    @property
    def around_bytes(self) -> int:
        """Of the embeddings, the final norm and the head."""
        return self.weight_bytes - weight_bytes(self.blocks[1])

    @cached_property
    def linears(self) -> list[dict[str, Linear]]:
        """The prunable matrices of each block."""
        return owned(self.blocks[1], self.options.dense)

    @property
    def layers(self) -> list[tuple[int, int, str]]:
        """Rows, width and name of the prunable matrices of the block in the middle, which stands
        for all."""
        middle = self.linears[len(self.linears) // 2]
        return [(*linear.weight.shape, name) for name, linear in middle.items()]

    @property
    def vocabulary(self) -> int:
        return int(self.model.config.get_text_config().vocab_size)

    def whole(self, device: torch.device) -> bool:
        """Whether the device holds the whole model while it is pruned."""
        asked = self.options.streaming
        fills = asked == "auto" and self.streamable and fills_memory(self.weight_bytes)
        return not (asked == "true" or fills) and fits(self.weight_bytes, device)
