"""A tensor as a bitmask and the values that are not zero: the same tensor to the bit.

With 60 % zeros in bfloat16 it takes 0.46 of the bytes: 1 bit per entry and 16 per value.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

# An entry counts as zero if all its bits are: -0.0 is a value.
INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


@dataclass(frozen=True)
class Packed:
    """bits: (ceil(entries / 8),) uint8; the first entry is the lowest bit of the first byte, and
        what is left of the last byte is 0
    values: (values,) in the tensor's dtype, in the order of the entries
    shape: of the tensor
    """

    bits: Tensor
    values: Tensor
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        return self.bits.nbytes + self.values.nbytes


def pack(tensor: Tensor) -> Packed:
    """On the tensor's device. Raises TypeError for a complex tensor."""
    if tensor.dtype.itemsize not in INTEGERS or tensor.is_complex():
        raise TypeError(f"a tensor of {tensor.dtype} cannot be packed")
    flat = tensor.detach().contiguous().flatten()
    integers = flat.view(INTEGERS[flat.dtype.itemsize])
    present = integers != 0
    bits = np.packbits(present.cpu().numpy(), bitorder="little")
    return Packed(
        torch.from_numpy(bits).to(flat.device),
        integers[present].view(flat.dtype),
        tuple(tensor.shape),
    )


def unpack(packed: Packed) -> Tensor:
    """The tensor that `pack` was given, on the device of the values. Raises ValueError if bits,
    values and shape do not belong together."""
    entries = math.prod(packed.shape)
    if packed.bits.dtype != torch.uint8 or packed.bits.shape != (-(-entries // 8),):
        raise ValueError(f"{tuple(packed.bits.shape)} bytes of bits for the shape {packed.shape}")
    bits = packed.bits.cpu().numpy()
    present = torch.from_numpy(np.unpackbits(bits, count=entries, bitorder="little")).bool()
    if int(present.count_nonzero()) != packed.values.numel():
        raise ValueError(f"{packed.values.numel()} values for {int(present.count_nonzero())} bits")
    values = packed.values.flatten()
    integer = INTEGERS[values.dtype.itemsize]  # torch fills no 8-bit floating-point tensor
    flat = torch.zeros(entries, dtype=integer, device=values.device)
    flat[present.to(flat.device)] = values.view(integer)
    return flat.view(values.dtype).view(packed.shape)
