"""Every layer's sparsity or pattern from a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dsnot_exp.methods.allocate.options import FileOptions
from dsnot_exp.methods.allocate.rules import assigned, read_rules
from dsnot_exp.methods.patterns import NM, Pattern, Unstructured


@dataclass(frozen=True)
class FromFile(FileOptions):
    def __call__(self, layers: Sequence[str], pattern: Pattern) -> dict[str, Pattern]:
        """The pattern of each of `layers`. The model's pattern does not count."""
        found = assigned(read_rules(self), layers, str(self.path))
        return {
            layer: NM(*amount) if isinstance(amount, tuple) else Unstructured(amount)
            for layer, amount in found.items()
        }
