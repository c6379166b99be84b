"""A 2:4 sparse tensor as its values and their places: the same tensor to the bit.

Of every four entries along an axis, two are stored, in order; a group with fewer values stores
zeros as well. The places take 4 bits per group: the lower two bits hold the place of the first
stored entry (0 to 3), the upper two that of the second. A byte holds two groups, the first in its
lower half.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from dsnot_exp.models.packed import INTEGERS

GROUP, KEPT = 4, 2


@dataclass(frozen=True)
class TwoOfFour:
    """values: (entries / 2,) in the tensor's dtype; places: (ceil(entries / 8),) uint8
    shape: of the tensor; axis: the one along which four entries make a group, -1 or -2. Both
        tensors are in the order of the entries with that axis last.
    """

    values: Tensor
    places: Tensor
    shape: tuple[int, ...]
    axis: int

    @property
    def nbytes(self) -> int:
        return self.values.nbytes + self.places.nbytes


def group_axis(tensor: Tensor) -> int | None:
    """The axis along which a tensor of two or more dimensions is 2:4, -1 or -2; None: along
    neither. -0.0 counts as zero."""
    for axis in (-1, -2):
        if tensor.dim() >= 2 and tensor.shape[axis] % GROUP == 0 and tensor.numel():
            groups = (tensor.detach() != 0).unflatten(axis, (-1, GROUP))  # the four are at `axis`
            if int(groups.sum(axis, dtype=torch.uint8).amax()) <= KEPT:
                return axis
    return None


def pack_2_4(tensor: Tensor) -> TwoOfFour | None:
    """None if the tensor is 2:4 along neither of its last two axes. GPT-2's weights, for one, have
    their inputs in the last but one."""
    for axis in (-1, -2):
        if tensor.dim() >= -axis and tensor.shape[axis] % GROUP == 0 and tensor.numel():
            found = _pack(tensor, axis)
            if found is not None:
                return found
    return None


def _pack(tensor: Tensor, axis: int) -> TwoOfFour | None:
    flat = tensor.detach().movedim(axis, -1).contiguous().view(-1)
    groups = flat.view(INTEGERS[flat.dtype.itemsize]).view(-1, GROUP)  # (groups, 4)
    present = groups != 0
    if bool((present.sum(1) > KEPT).any()):
        return None
    # A stable sort puts the values in front, in their order, and zeros behind them.
    chosen = (~present).to(torch.uint8).argsort(dim=1, stable=True)[:, :KEPT]
    chosen = chosen.sort(dim=1).values  # (groups, 2)
    values = groups.gather(1, chosen).view(-1).view(flat.dtype)
    nibbles = (chosen[:, 0] | chosen[:, 1] << 2).to(torch.uint8)
    if len(nibbles) % 2:
        nibbles = torch.cat([nibbles, nibbles.new_zeros(1)])
    places = nibbles[0::2] | nibbles[1::2] << 4
    return TwoOfFour(values, places, tuple(tensor.shape), axis)


def unpack_2_4(packed: TwoOfFour) -> Tensor:
    """The tensor that `pack_2_4` was given. Raises ValueError if values, places and shape do not
    belong together."""
    entries = math.prod(packed.shape)
    groups = entries // GROUP
    if packed.values.numel() != groups * KEPT or packed.places.shape != (-(-groups // 2),):
        raise ValueError(
            f"{packed.values.numel()} values and {packed.places.numel()} bytes of places for the "
            f"shape {packed.shape}"
        )
    nibbles = torch.stack([packed.places & 15, packed.places >> 4], dim=1).view(-1)[:groups]
    chosen = torch.stack([nibbles & 3, nibbles >> 2], dim=1).long()  # (groups, 2)
    if bool((chosen[:, 0] >= chosen[:, 1]).any()):
        raise ValueError("the places of a group are not in order")
    values = packed.values.flatten()
    integer = INTEGERS[values.dtype.itemsize]
    flat = torch.zeros(groups, GROUP, dtype=integer)
    flat.scatter_(1, chosen, values.view(integer).view(-1, KEPT))
    moved = list(packed.shape)
    moved.append(moved.pop(packed.axis))
    return flat.view(-1).view(values.dtype).view(moved).movedim(-1, packed.axis).contiguous()
