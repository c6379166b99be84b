"""What is known of a model that was made sparse."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from dsnot_exp.models.loading import TORCH_DTYPES
from dsnot_exp.walk.record import BlockFit, Choice, LayerRecord, Solved


@dataclass
class Sparsified:
    """What is known about a model's layers once they are sparse. The weights are in the model.

    notes: by layer, where its method had to do something else
    choices: of the refinement budget, by block, where it was left to choose
    targets: by layer, the sparsity that it was given, or its N:M
    fits: of the blocks' kept weights, where they were trained
    moved: the layers whose kept weights are not those of the dense model
    batch: calibration sequences per forward; None without calibration
    dtype: of the model
    masks_sha256: over every layer's name, shape and mask, in the order of the walk
    """

    records: list[LayerRecord] = field(default_factory=list)
    notes: dict[str, str] = field(default_factory=dict)
    choices: list[Choice] = field(default_factory=list)
    targets: dict[str, float | str] = field(default_factory=dict)
    fits: list[BlockFit] = field(default_factory=list)
    moved: list[str] = field(default_factory=list)
    batch: int | None = None
    dtype: torch.dtype = torch.float32
    masks_sha256: str = ""

    def __post_init__(self) -> None:
        self._masks = hashlib.sha256()
        self.masks_sha256 = self.masks_sha256 or self._masks.hexdigest()

    def add(self, solved: Solved) -> None:
        """Count a block; blocks are added in the order of the walk."""
        self.records += solved.records
        self.notes |= solved.notes
        self.choices += [solved.choice] if solved.choice is not None else []
        self.fits += [solved.fit] if solved.fit is not None else []
        self.moved += solved.moved
        for name, mask in solved.masks.items():
            self._masks.update(name.encode())
            self._masks.update(mask.numpy().tobytes())
        self.masks_sha256 = self._masks.hexdigest()

    def as_plain(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {
            "records": [asdict(record) for record in self.records],
            "choices": [asdict(choice) for choice in self.choices],
            "fits": [asdict(fit) for fit in self.fits],
            "notes": self.notes,
            "targets": self.targets,
            "moved": self.moved,
            "batch": self.batch,
            "dtype": str(self.dtype).removeprefix("torch."),
            "masks_sha256": self.masks_sha256,
        }

    @classmethod
    def from_plain(cls, known: Mapping[str, Any]) -> Sparsified:
        """known: what `as_plain` returned, and more"""
        return cls(
            records=[LayerRecord(**record) for record in known["records"]],
            notes=dict(known["notes"]),
            choices=[Choice(**choice) for choice in known["choices"]],
            targets=dict(known["targets"]),
            fits=[BlockFit(**fit) for fit in known["fits"]],
            moved=list(known["moved"]),
            batch=known["batch"],
            dtype=TORCH_DTYPES[known["dtype"]],
            masks_sha256=known["masks_sha256"],
        )
