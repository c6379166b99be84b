"""Every linear layer gets the same sparsity, as in the paper."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dsnot_exp.methods.patterns import Pattern


@dataclass(frozen=True)
class Uniform:
    def __call__(self, layers: Sequence[str], pattern: Pattern) -> dict[str, Pattern]:
        """The pattern of each of `layers`, given that of the whole model."""
        return dict.fromkeys(layers, pattern)
