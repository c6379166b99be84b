"""No update: the kept weights stay as they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from dsnot_exp.methods.protocols import Needs, Rows
from dsnot_exp.methods.statistics import InputStatistics


@dataclass(frozen=True)
class Keep:
    needs: ClassVar[Needs] = frozenset()
    rows: ClassVar[Rows] = "independent"

    def __call__(
        self, dense: Tensor, sparse: Tensor, mask: Tensor, statistics: InputStatistics | None
    ) -> Tensor:
        """dense, sparse, mask: (out, in) -> the layer's new sparse weight (out, in)."""
        return sparse
