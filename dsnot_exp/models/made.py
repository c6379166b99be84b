"""A model of random weights, one block at a time: it costs what the real one costs, and nothing has
to be downloaded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dsnot_exp.models.placement import Placed
from dsnot_exp.models.streamed import empty

TILE = 65_521  # a prime: the rows of a matrix differ, whatever its width
SCALE = 0.02


@dataclass
class Made(Placed):
    """Blocks have weights only while they are fetched. The head has none at all."""

    @classmethod
    def of(
        cls, model: Any, blocks: tuple[str, nn.ModuleList], device: torch.device, dense: list[str]
    ) -> Made:
        """model: with its weights on the meta device, and real buffers"""
        apart = {*blocks[1].modules(), model.get_output_embeddings()}
        _fill((module for module in model.modules() if module not in apart), device)
        for module in model.modules():
            for name, buffer in module.named_buffers(recurse=False):
                module._buffers[name] = buffer.to(device)
        return cls(model, blocks, device, whole=False, dense=dense)

    @contextmanager
    def fetch(self, block: nn.Module) -> Iterator[nn.Module]:
        _fill(block.modules(), self.device)
        try:
            yield block
        finally:
            empty(block)


def _fill(modules: Iterable[nn.Module], device: torch.device) -> None:
    for module in modules:
        for name, absent in module.named_parameters(recurse=False):
            made = random_tensor(absent.shape, absent.dtype, device)
            module._parameters[name] = nn.Parameter(made, requires_grad=False)


def random_tensor(shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Ones for a vector, such as a norm's. A matrix repeats a few numbers: drawing all of them
    takes a CPU longer than a forward."""
    made = torch.ones(tuple(shape), dtype=dtype, device=device)
    if made.dim() < 2:
        return made
    tile = torch.randn(TILE, generator=torch.Generator().manual_seed(0)).mul_(SCALE)
    tile = tile.to(device, dtype)
    for part in made.view(-1).split(TILE):
        part.copy_(tile[: len(part)])
    return made
