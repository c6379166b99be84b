"""The masks of a sparse model: packed into bits, read from disk, and compared.

A folder of a sparse model holds masks/NNNNN.safetensors, one file per block. Each tensor is a mask,
named by its layer and shape, such as `model.layers.0.mlp.up_proj(688, 256)`: uint8, eight entries
per byte in the order of the rows, the first in the highest bit (numpy.packbits), 1 for a kept
weight.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dsnot_exp.methods.patterns import packed
from dsnot_exp.models.shards import Shards

FOLDER = "masks"
NAME = re.compile(r"(?P<layer>.+)\((?P<shape>\d+(, \d+)*),?\)")


def mask_name(layer: str, mask: Tensor) -> str:
    return f"{layer}{tuple(mask.shape)}"


def pack_mask(mask: Tensor) -> Tensor:
    """(out, in) bool -> (ceil(out * in / 8),) uint8 in memory."""
    return torch.frombuffer(bytearray(packed(mask)), dtype=torch.uint8)


def unpack_mask(bits: Tensor, shape: tuple[int, ...]) -> Tensor:
    """What `pack_mask` was given. Raises ValueError if there are not as many bits."""
    entries = math.prod(shape)
    if bits.dtype != torch.uint8 or bits.shape != (-(-entries // 8),):
        raise ValueError(f"{tuple(bits.shape)} bytes for a mask of the shape {shape}")
    flat = np.unpackbits(bits.numpy(), count=entries)
    return torch.from_numpy(flat).view(torch.bool).view(shape)


def unpack_masks(named: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Packed masks by `mask_name` -> bool masks by layer."""
    masks = {}
    for name, bits in named.items():
        found = NAME.fullmatch(name)
        if found is None:
            raise ValueError(f"{name} is no name of a layer with its shape")
        shape = tuple(int(size) for size in found["shape"].split(", "))
        masks[found["layer"]] = unpack_mask(bits, shape)
    return masks


def mask_files(folder: Path | str) -> list[Path]:
    """The files of the masks of the sparse model in `folder`, in the order of the blocks. Raises
    FileNotFoundError if there are none."""
    files = sorted((Path(folder) / FOLDER).glob("*.safetensors"))
    if not files:
        raise FileNotFoundError(f"{Path(folder) / FOLDER}: no masks are kept there")
    return files


def load_masks(folder: Path | str) -> dict[str, Tensor]:
    """The masks of the sparse model in `folder` by layer, (out, in) bool, True = kept. Raises
    OSError if a file is missing or damaged."""
    masks: dict[str, Tensor] = {}
    for file in mask_files(folder):
        shards = Shards([file])
        try:
            masks |= unpack_masks(shards.read(shards.entries))
        except ValueError as error:
            raise OSError(f"{file}: damaged ({error})") from error
    return masks


@dataclass(frozen=True)
class Overlap:
    """Two masks of one layer, or of several: add them up.

    both: weights that both keep; either: that at least one keeps
    equal: entries that are the same in both; entries: all
    """

    both: int
    either: int
    equal: int
    entries: int

    @property
    def jaccard(self) -> float:
        """Weights kept by both / weights kept by at least one; 1 if neither keeps any."""
        return self.both / self.either if self.either else 1.0

    @property
    def share_equal(self) -> float:
        return self.equal / self.entries if self.entries else 1.0

    def __add__(self, other: Overlap) -> Overlap:
        return Overlap(
            self.both + other.both,
            self.either + other.either,
            self.equal + other.equal,
            self.entries + other.entries,
        )


NOTHING = Overlap(0, 0, 0, 0)


def overlap(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> dict[str, Overlap]:
    """The overlap of the layers that both have, in the order of the first. Raises ValueError if
    they share no layer, or a layer has two shapes: then the models differ.

    one, other: masks by layer, (out, in) bool
    """
    found = {}
    for layer in one:
        if layer not in other:
            continue
        a, b = one[layer], other[layer]
        if a.shape != b.shape:
            raise ValueError(
                f"{layer} is {tuple(a.shape)} in one model, {tuple(b.shape)} in the other"
            )
        both, either = int((a & b).count_nonzero()), int((a | b).count_nonzero())
        found[layer] = Overlap(both, either, a.numel() - either + both, a.numel())
    if not found:
        raise ValueError("the two models have no layer in common")
    return found
