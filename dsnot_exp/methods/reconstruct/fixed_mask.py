"""New values of the kept weights under a fixed mask: what every reconstructor has in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor

from dsnot_exp.methods.normal_equations import Normalised, error_change, right_side, shared
from dsnot_exp.methods.protocols import Needs, Rows
from dsnot_exp.methods.statistics import InputStatistics, Statistic
from dsnot_exp.utils.accelerator import is_accelerator

# B, start and mask (rows, in) -> x (rows, in), 0 where the mask is False
Solve = Callable[[Tensor, Tensor, Tensor], Tensor]
ENTRIES, ENTRIES_GPU = 1 << 22, 1 << 26  # of the rows that are solved together
ROUNDING = 1e-7  # of a row's energy: a smaller change of its error is none


class FixedMask(ABC):
    """A reconstructor whose rows are least squares problems: it says how they are solved."""

    needs: ClassVar[Needs] = frozenset({Statistic.NORMALISED, Statistic.TARGET})
    rows: ClassVar[Rows] = "independent"
    damping: float

    @abstractmethod
    def solver(self, problem: Normalised) -> Solve:
        """How to solve rows of a layer with this Hn."""

    def __call__(
        self, dense: Tensor, sparse: Tensor, mask: Tensor, statistics: InputStatistics | None
    ) -> Tensor:
        """dense, sparse, mask: (out, in) -> the layer's new sparse weight (out, in)."""
        if statistics is None:  # an expert that saw too few tokens
            return sparse
        problem = shared(statistics, self.damping)
        return reconstructed(problem, dense, sparse, mask, statistics, self.solver(problem))


def reconstructed(
    problem: Normalised,
    dense: Tensor,
    sparse: Tensor,
    mask: Tensor,
    statistics: InputStatistics,
    solve: Solve,
) -> Tensor:
    """The sparse weight (out, in) with new values of the kept weights. A row whose error, in the
    weight's own precision, would not fall keeps its weights. Raises ArithmeticError for a solution
    that is not finite."""
    target, result = right_side(problem, dense, statistics), sparse.clone()
    height = max(1, (ENTRIES_GPU if is_accelerator(dense) else ENTRIES) // dense.shape[1])
    for low in range(0, len(dense), height):
        rows = slice(low, low + height)
        wanted, old, kept = problem.scaled(dense[rows]), sparse[rows], mask[rows]
        before = problem.scaled(old)
        found = solve(target[rows], before, kept)
        new = problem.restored(found, old).masked_fill_(~kept, 0)
        change = error_change(problem, target[rows], wanted, before, problem.scaled(new))
        if not bool(torch.isfinite(change.sum() + found.sum())):
            raise ArithmeticError(
                "its least squares gave NaN or infinity; raise reconstruct.damping or calib.samples"
            )
        least = (wanted * target[rows]).sum(1).abs_().mul_(ROUNDING)
        result[rows] = torch.where((change < -least)[:, None], new, old)
    return result
