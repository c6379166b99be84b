"""The masks of a model that was pruned in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import Tensor

from dsnot_exp.models.masks import NAME, unpack_masks


class Masks(Mapping[str, Tensor]):
    """Masks by layer, (out, in) bool, True = kept. They are packed, one bit per weight, and
    unpacked when they are asked for."""

    def __init__(self, packed: Mapping[str, Tensor]) -> None:
        """packed: by layer and shape, as models/masks.py names them"""
        found = ((NAME.fullmatch(name), name) for name in packed)
        self._names = {match["layer"]: name for match, name in found if match is not None}
        self._packed = packed

    def __getitem__(self, layer: str) -> Tensor:
        name = self._names[layer]
        return unpack_masks({name: self._packed[name]})[layer]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __repr__(self) -> str:
        return f"<masks of {len(self)} layers>"
