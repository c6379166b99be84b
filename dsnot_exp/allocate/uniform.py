"""Every linear layer to the same sparsity, as in the paper."""

from __future__ import annotations

from dataclasses import dataclass

from dsnot_exp.patterns import Pattern


@dataclass(frozen=True)
class Uniform:
    def __call__(self, layer: str, pattern: Pattern) -> Pattern:
        """The pattern of the layer named `layer`, for a model whose overall pattern is given."""
        return pattern
