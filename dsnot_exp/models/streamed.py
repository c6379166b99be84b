"""A model larger than memory. Only the current block and the tensors outside the blocks are loaded;
the next block is read and the previous one written in the background."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dsnot_exp.models.checkpoint import Checkpoint
from dsnot_exp.models.loading import refuse_nonfinite_weights, spread
from dsnot_exp.models.placement import Placed
from dsnot_exp.models.shards import Shards
from dsnot_exp.models.source import Source
from dsnot_exp.utils.accelerator import is_accelerator
from dsnot_exp.utils.errors import RunError


@dataclass
class Streamed(Placed):
    """A model whose blocks are in memory only while they are fetched.

    source: where the current weights are: the checkpoint, later the folder of the sparse model
    solved: shards of the blocks that are already sparse, by index
    """

    checkpoint: Checkpoint = field(kw_only=True)
    source: Source = field(kw_only=True)
    dtype: str = field(kw_only=True)
    solved: dict[int, Shards] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.whole = False
        self._index = {id(block): i for i, block in enumerate(self.blocks[1])}
        self._reader = ThreadPoolExecutor(1, "read")
        self._ahead: tuple[int, Future[dict[str, Tensor]]] | None = None

    @contextmanager
    def fetch(self, block: nn.Module) -> Iterator[nn.Module]:
        index = self._index[id(block)]
        self.checkpoint.load(self._take(index), self.device)
        absent = [name for name, p in block.named_parameters() if p.is_meta]
        name = f"{self.blocks[0]}.{index}"
        if absent:
            raise RunError(f"{name}.{absent[0]}: not in the checkpoint")
        if index not in self.solved:
            refuse_nonfinite_weights(block, f"{name}.")
        self._read_ahead(index + 1)
        try:
            yield block
        finally:
            empty(block)

    def refuse_unrestorable(self) -> None:
        """Raise, before any work is done, if the sparse blocks could not be written under the
        checkpoint's names. The first and the last block stand for all; their tensors stay empty."""
        shards, meta = self.checkpoint.shards, torch.device("meta")
        for index in {0, len(self.blocks[1]) - 1}:
            hollow = {
                key: torch.empty(entry.shape, dtype=entry.dtype, device=meta)
                for key, entry in shards.entries.items()
                if key in self.checkpoint.inside[index]
            }
            self.checkpoint.load(hollow, meta)
            self.tensors(index, self.blocks[1][index])

    def tensors(self, index: int, module: nn.Module) -> dict[str, Tensor]:
        """All tensors of the block, because they become a shard of the sparse model."""
        prefix = f"{self.blocks[0]}.{index}."
        own = {f"{prefix}{name}": tensor for name, tensor in module.state_dict().items()}
        reverted = self.checkpoint.revert(own)
        if set(reverted) != set(self.checkpoint.inside[index]):
            odd = min(set(reverted) ^ set(self.checkpoint.inside[index]))
            raise RunError(
                f"{odd}: transformers cannot restore the checkpoint's names of this block's "
                "tensors; use model.streaming=false"
            )
        return reverted

    def restore(self, index: int, path: Path) -> None:
        self.solved[index] = Shards([path])
        if self._ahead is not None and self._ahead[0] == index:
            self._ahead = None

    def wrote(self, index: int, path: Path) -> None:
        self.restore(index, path)

    @contextmanager
    def callable(self) -> Iterator[Any]:
        """The model, reloaded by transformers over device, memory and disk."""
        with spread(self.source, self.dtype, self.device) as model:
            yield model

    def _take(self, index: int) -> dict[str, Tensor]:
        if self._ahead is not None and self._ahead[0] == index:
            future, self._ahead = self._ahead[1], None
            return future.result()
        return self._read(index)

    def _read_ahead(self, index: int) -> None:
        waiting = self._ahead is not None and self._ahead[0] == index
        if index < len(self.blocks[1]) and not waiting:
            self._ahead = (index, self._reader.submit(self._read, index))

    def _read(self, index: int) -> dict[str, Tensor]:
        shards = self.solved.get(index, self.checkpoint.shards)
        return shards.read(self.checkpoint.inside[index], pinned=is_accelerator(self.device))


def empty(block: nn.Module) -> None:
    """Replace a block's weights by meta tensors. Its buffers stay."""
    for module in block.modules():
        for name, parameter in module.named_parameters(recurse=False):
            hollow = torch.empty_like(parameter, device="meta")
            module._parameters[name] = nn.Parameter(hollow, requires_grad=False)
