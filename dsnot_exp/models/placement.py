"""Where a model's weights are kept, and how they are moved to the device."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dsnot_exp.models.linears import linears
from dsnot_exp.models.report import UNKNOWN, Report
from dsnot_exp.models.shards import Shards
from dsnot_exp.utils import accelerator

RESERVE = 2 << 30  # bytes of device memory left for activations and statistics


@dataclass
class Placed:
    """A model, its blocks and the device that computes.

    whole: all weights are on the device. Otherwise the blocks are kept in memory and moved to the
        device one at a time; only the embeddings, the norm and the head stay on the device.
    loaded: what the checkpoint had of the model
    """

    model: Any
    blocks: tuple[str, nn.ModuleList]
    device: torch.device
    whole: bool = True
    dense: Sequence[str] = ()
    loaded: Report = UNKNOWN

    @contextmanager
    def fetch(self, block: nn.Module) -> Iterator[nn.Module]:
        """Move the block to the device, and back afterwards."""
        if self.whole:
            yield block
            return
        try:
            yield block.to(self.device)
        finally:
            block.to("cpu")

    def tensors(self, index: int, module: nn.Module) -> dict[str, Tensor]:
        """The parameters of a block that pruning changes, by name: all that `restore` needs."""
        matrices = linears(module, self.dense).values()
        changed = {id(matrix.parameter) for matrix in matrices}
        return {name: p.data for name, p in module.named_parameters() if id(p) in changed}

    def restore(self, index: int, path: Path) -> None:
        """Load block `index` from `path`, which holds what `tensors` returned."""
        shards = Shards([path])
        own = dict(self.blocks[1][index].named_parameters())
        for name, tensor in shards.read(shards.entries).items():
            own[name].data.copy_(tensor)

    def wrote(self, index: int, path: Path) -> None:
        """Called when `path` holds what `tensors` returned for block `index`."""

    @contextmanager
    def callable(self) -> Iterator[Any]:
        """The model, ready for its forward. If it does not fit on one device, accelerate spreads it
        over all devices and memory."""
        if self.whole:
            yield self.model
            return
        from accelerate import infer_auto_device_map

        never_split = sorted({type(block).__name__ for block in self.blocks[1]})
        device_map = infer_auto_device_map(
            self.model, accelerator.free_everywhere(), no_split_module_classes=never_split
        )
        try:
            with dispatched(self.model, device_map):
                yield self.model
        finally:
            self.keep_blocks_in_memory()

    def keep_blocks_in_memory(self) -> None:
        """Move the blocks to memory, and everything else to the device, wherever they were."""
        self.blocks[1].to("cpu")
        move_all_but(self.blocks[1], self.model, self.device)


def place(
    model: nn.Module,
    blocks: tuple[str, nn.ModuleList],
    device: torch.device,
    dense: Sequence[str] = (),
    loaded: Report = UNKNOWN,
    training: int = 0,
) -> Placed:
    """Move the model to `device`. If it does not fit, leave its blocks in memory. training: bytes
    that the training of a block takes beside the weights"""
    if fits(weight_bytes(model), device, training):
        move(model, device)
        return Placed(model, blocks, device, dense=dense, loaded=loaded)
    placed = Placed(model, blocks, device, whole=False, dense=dense, loaded=loaded)
    placed.keep_blocks_in_memory()
    return placed


def fits(weights: int, device: torch.device, training: int = 0) -> bool:
    """Whether a model whose weights take so many bytes is kept on the device as a whole. training:
    as for `place`"""
    needed = weights + RESERVE + training
    return not accelerator.is_accelerator(device) or needed < accelerator.free_memory(device)


def weight_bytes(model: nn.Module) -> int:
    return sum(p.numel() * p.element_size() for p in model.parameters())


def move(model: nn.Module, device: torch.device) -> None:
    """Move the model; parameters that it shares stay shared. torch makes parameters anew on devices
    that it was not built with, and each of a shared one's places would get its own."""
    from accelerate.utils import find_tied_parameters, retie_parameters

    shared = find_tied_parameters(model)
    model.to(device)
    retie_parameters(model, shared)


def move_all_but(blocks: nn.ModuleList, model: nn.Module, device: torch.device) -> None:
    held = list(blocks)
    try:
        for index in range(len(held)):
            blocks[index] = nn.Identity()
        move(model, device)
    finally:
        for index, block in enumerate(held):
            blocks[index] = block


@contextmanager
def dispatched(model: Any, device_map: dict[str, Any]) -> Iterator[None]:
    """Let accelerate's hooks move each module's weights to its device on use. Afterwards the
    hooks are removed and the weights are back."""
    from accelerate import dispatch_model
    from accelerate.hooks import remove_hook_from_submodules

    with tempfile.TemporaryDirectory(prefix="dsnot-exp-offload-") as offload:
        dispatch_model(model, device_map, offload_dir=offload)
        try:
            yield
        finally:
            remove_hook_from_submodules(model)
            for left in ("hf_device_map", "to", "cuda"):
                model.__dict__.pop(left, None)
