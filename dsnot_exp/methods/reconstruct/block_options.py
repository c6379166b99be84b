"""The options of block-wise reconstruction. They need no torch: options are checked before it is
imported."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class BlockOptions:
    """epochs: passes over the calibration sequences, at most
    lr: the first step's size, as a fraction of the root mean square of a layer's kept weights; it
        falls to 0 over the epochs
    batch: sequences per step
    patience: epochs in a row without a smaller error on held-out sequences, after which it stops
    """

    epochs: int = 4
    lr: float = 0.005
    batch: int = 4
    patience: int = 4

    def __post_init__(self) -> None:
        for name in ("epochs", "batch", "patience"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: expected 1 or more")
        if not 0 < self.lr <= 1:
            raise ValueError(f"lr={self.lr}: expected above 0, at most 1")
