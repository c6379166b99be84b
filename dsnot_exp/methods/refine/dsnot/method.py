"""DSnoT: Dynamic Sparse No Training (Zhang et al., ICLR 2024, arXiv 2310.08915), section 3.

Each cycle, for every row at once, one pruned weight is grown and one kept weight is pruned, so
that the row's expected reconstruction error e_r moves towards zero and its budget stays:

    stop    a row whose |e_r| <= update_threshold, for good
    grow    argmax over the pruned weights of |c_rk| / var_k^gamma, among those whose contribution
            c_rk has the sign of e_r (equation 3)
    prune   argmin over the kept weights of |W_rk| * ||A_k||, among those whose contribution has
            the opposite sign (equation 4; N:M: in the grown weight's group, whatever its sign)
    update  e_r += c_pruned - c_grown

The released code (github zyxxmu/DSnoT, lib/prune.py:422-873) differs when a row has run out of
candidates. With no kept weight of the wanted sign left, it continues with those of the other sign,
the most important first (`used_up=run_on`). With no pruned weight left, it "grows" weights that are
already kept, and the row's budget drifts. Here budgets never drift: such a row stops.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from dsnot_exp.methods.layer_error import expected_error
from dsnot_exp.methods.patterns import NM, Pattern
from dsnot_exp.methods.protocols import Initial, Layer, Needs, Refined, Rows
from dsnot_exp.methods.refine.dsnot import backend
from dsnot_exp.methods.refine.dsnot.criteria import grow_queue, prune_queue
from dsnot_exp.methods.refine.dsnot.cycles import run_cycles
from dsnot_exp.methods.refine.dsnot.options import AUTO, BUDGETS, DSnoTOptions
from dsnot_exp.methods.statistics import InputStatistics, Statistic


@dataclass(frozen=True)
class DSnoT(DSnoTOptions):
    needs: ClassVar[Needs] = frozenset({Statistic.MEAN, Statistic.VAR, Statistic.NORM})

    @property
    def rows(self) -> Rows:
        """A random criterion draws numbers for a whole matrix."""
        return "together" if "random" in (self.grow, self.prune) else "independent"

    @property
    def candidates(self) -> dict[str, DSnoT]:
        if self.max_cycles != AUTO:
            return {}
        return {str(budget): replace(self, max_cycles=budget) for budget in BUDGETS}

    def cycles(self, width: int) -> int:
        """The most swaps in a row of `width` weights."""
        assert not isinstance(self.max_cycles, str), "auto is chosen by the walk"
        if 0 < self.max_cycles < 1:
            return max(1, round(self.max_cycles * width))
        return int(self.max_cycles)

    def __call__(
        self,
        weight: Tensor,
        initial: Initial,
        statistics: InputStatistics,
        pattern: Pattern,
        generator: torch.Generator,
    ) -> Refined:
        error = expected_error(weight, initial, statistics)
        cycles = self.cycles(weight.shape[1])
        if cycles == 0:
            return Refined(initial.mask, error, error, torch.zeros_like(error).long())
        layer = Layer(weight, initial, statistics, pattern)
        mask, after, swaps = self._swap(layer, error, cycles, generator)
        if applies(self.only_better, initial.moved):
            worse = after.abs() > error.abs()
            mask[worse] = initial.mask[worse]
            after, swaps = torch.where(worse, error, after), swaps.masked_fill(worse, 0)
        return Refined(mask, error, after, swaps)

    def _swap(
        self, layer: Layer, error: Tensor, cycles: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """`error: (out,)` -> (the mask, the error after, the swaps)."""
        statistics, grouped = layer.statistics, isinstance(layer.pattern, NM)
        flip_stops, run_on = applies(self.stop_on_sign_flip, grouped), self.used_up == "run_on"
        var = statistics.var if self.variance == "pooled" else statistics.sequence_var
        divisor = var ** (self.variance_power if self.grow == "mean_over_var" else 0)
        if (
            self.grow in ("mean_over_var", "mean")
            and self.prune == "signed_wanda"
            and backend.usable(layer.weight)
        ):
            swapped = backend.swap(
                layer, divisor, error, cycles, self.update_threshold, flip_stops, run_on
            )
            if swapped is not None:
                return swapped
        grow = grow_queue(self.grow, layer, divisor, cycles, generator)
        prune = prune_queue(self.prune, layer, cycles, generator, run_on)
        after, swaps = run_cycles(error, grow, prune, cycles, self.update_threshold, flip_stops)
        mask = layer.initial.mask.clone()
        grow.mark(mask, True)
        prune.mark(mask, False)
        return mask, after, swaps


def applies(choice: str, auto: bool) -> bool:
    """Resolves `auto`, `always` or `never`."""
    return choice == "always" or (choice == "auto" and auto)
