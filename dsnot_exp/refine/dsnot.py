"""DSnoT: Dynamic Sparse No Training (Zhang et al., ICLR 2024, arXiv 2310.08915), section 3.

Each cycle, for every row at once, one pruned weight is grown and one kept weight is pruned, so
that the row's expected reconstruction error e_r moves towards zero and its budget stays:

    stop    a row whose |e_r| <= update_threshold, for good
    grow    argmax over the pruned weights of |c_rk| / var_k^gamma, among those whose contribution
            c_rk has the sign of e_r (equation 3)
    prune   argmin over the kept weights of |W_rk| * ||A_k||, among those whose contribution has
            the opposite sign (equation 4; N:M: in the grown weight's group, whatever its sign)
    update  e_r += c_pruned - c_grown

The released code (github zyxxmu/DSnoT, lib/prune.py:422-873) differs in what it does once a row
has run out of candidates. With no kept weight of the wanted sign left it goes on with those of the
other sign, the most important first (`used_up=run_on`); with no pruned weight left it "grows"
weights that are kept already, and the row's budget drifts. Budgets never drift here: such a row
stops.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from dsnot_exp.patterns import NM, Pattern
from dsnot_exp.prune.base import Initial
from dsnot_exp.prune.wanda import wanda_scores
from dsnot_exp.refine.base import Refined, contribution, expected_error
from dsnot_exp.refine.candidates import GroupQueue, Queue
from dsnot_exp.refine.cycles import run_cycles
from dsnot_exp.statistics import InputStatistics

CHOICES = {
    "variance": ("pooled", "sequence"),
    "grow": ("mean_over_var", "mean", "magnitude", "wanda", "random"),
    "prune": ("signed_wanda", "wanda", "signed_magnitude", "magnitude", "random"),
    "stop_on_sign_flip": ("auto", "always", "never"),
    "only_better": ("auto", "always", "never"),
    "used_up": ("stop", "run_on"),
}


@dataclass(frozen=True)
class DSnoT:
    """The options, each an ablation of the paper.

    max_cycles: swaps per row at most; a float below 1 is a fraction of the row
    update_threshold: a row stops once |e_r| is no larger (token sum of a sequence)
    variance_power: gamma; 0 turns the variance off
    variance: `pooled` over all tokens (paper), or the mean within a `sequence` (released code)
    grow, prune: the criteria; for N:M, `prune=signed_*` takes the initial scores and no sign
    stop_on_sign_flip: `auto` is N:M only, as released
    only_better: a row whose |e_r| would end larger than it began keeps its initial mask; `auto`
        is on moved weights only (SparseGPT's), which have left little error to be lowered
    used_up: once no kept weight has the wanted sign, `stop` the row (paper), or `run_on` to the
        other sign, the most important first (released code)
    skip: glob patterns of linears, named inside a block, that keep their initial mask
    """

    needs: ClassVar[frozenset[str]] = frozenset({"mean", "var", "norm"})
    max_cycles: int | float = 50
    update_threshold: float = 0.1
    variance_power: float = 1.0
    variance: str = "pooled"
    grow: str = "mean_over_var"
    prune: str = "signed_wanda"
    stop_on_sign_flip: str = "auto"
    only_better: str = "auto"
    used_up: str = "stop"
    skip: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{name}={getattr(self, name)}: choose from {', '.join(choices)}")
        if self.max_cycles < 0 or (
            self.max_cycles >= 1 and self.max_cycles != int(self.max_cycles)
        ):
            raise ValueError(
                f"max_cycles={self.max_cycles}: expected a whole number of cycles, 0 or more, "
                "or a fraction of the row below 1"
            )
        if self.update_threshold < 0:
            raise ValueError(f"update_threshold={self.update_threshold}: expected 0 or more")

    def cycles(self, width: int) -> int:
        """The budget of a row of `width` weights."""
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
        if cycles == 0 or not bool(initial.mask.any()) or bool(initial.mask.all()):
            return Refined(initial.mask, error, error, torch.zeros_like(error).long())
        grouped = isinstance(pattern, NM)
        flip_stops = applies(self.stop_on_sign_flip, grouped)
        length = cycles
        if isinstance(pattern, NM):
            # A group of n kept and M - n pruned weights can swap n times: what is left of its
            # candidates is passed over, so the queue has to be so much longer.
            length = cycles * max(1, -(-(pattern.m - pattern.n) // pattern.n))
        grow = self._grow_queue(weight, initial, statistics, length, generator)
        prune = self._prune_queue(weight, initial, statistics, pattern, cycles, generator)
        after, swaps = run_cycles(error, grow, prune, cycles, self.update_threshold, flip_stops)
        mask = initial.mask.clone()
        mask[grow.moved()] = True
        mask[prune.moved()] = False
        if applies(self.only_better, initial.weight is not weight):
            worse = after.abs() > error.abs()
            mask[worse] = initial.mask[worse]
            after, swaps = torch.where(worse, error, after), swaps.masked_fill(worse, 0)
        return Refined(mask, error, after, swaps)

    def _grow_queue(
        self,
        weight: Tensor,
        initial: Initial,
        statistics: InputStatistics,
        length: int,
        generator: torch.Generator,
    ) -> Queue:
        """The pruned weights, best first. A grown weight comes back with its dense value."""
        value = contribution(weight, statistics)
        candidates = ~initial.mask & (statistics.norm > 0)  # a dead channel is never grown
        if self.grow == "mean_over_var":
            var = statistics.var if self.variance == "pooled" else statistics.sequence_var
            score = value.abs() / var**self.variance_power
        elif self.grow == "mean":
            score = value.abs()
        else:
            score = unsigned_scores(self.grow, weight, statistics, generator)
        if self.grow.startswith("mean"):
            return Queue(
                -score, [candidates & (value > 0), candidates & (value < 0)], value, length
            )
        return Queue(-score, [candidates], value, length)

    def _prune_queue(
        self,
        weight: Tensor,
        initial: Initial,
        statistics: InputStatistics,
        pattern: Pattern,
        length: int,
        generator: torch.Generator,
    ) -> Queue | GroupQueue:
        """The kept weights, least important first. A pruned weight takes away its present value."""
        value = contribution(initial.weight, statistics)
        kind = self.prune.removeprefix("signed_")
        if isinstance(pattern, NM):
            cost = initial.scores
            if self.prune != "signed_wanda":
                cost = unsigned_scores(kind, initial.weight, statistics, generator)
            return GroupQueue(cost, initial.mask, value, pattern)
        cost = unsigned_scores(kind, initial.weight, statistics, generator)
        if kind == self.prune:
            return Queue(cost, [initial.mask], value, length)
        sides = [initial.mask & (value < 0), initial.mask & (value > 0)]
        return Queue(cost, sides, value, length, run_on=self.used_up == "run_on")


def applies(choice: str, auto: bool) -> bool:
    """What `auto`, `always` or `never` come to."""
    return choice == "always" or (choice == "auto" and auto)


def unsigned_scores(
    kind: str, weight: Tensor, statistics: InputStatistics, generator: torch.Generator
) -> Tensor:
    """The criteria that look at no contribution: (out, in), large = important."""
    if kind == "random":
        # Drawn on the CPU, so that every device sees the same numbers.
        return torch.rand(weight.shape, generator=generator).to(weight.device)
    if kind == "wanda":
        return wanda_scores(weight, statistics)
    return weight.float().abs()
