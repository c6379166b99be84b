"""DSnoT's options. They need no torch: options are checked before it is imported."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

AUTO = "auto"
BUDGETS = (0, 1, 2, 5, 20, 50)  # what auto chooses from; the paper always uses 50
CHOICES = {
    "variance": ("pooled", "sequence"),
    "grow": ("mean_over_var", "mean", "magnitude", "wanda", "random"),
    "prune": ("signed_wanda", "wanda", "signed_magnitude", "magnitude", "random"),
    "stop_on_sign_flip": ("auto", "always", "never"),
    "only_better": ("auto", "always", "never"),
    "used_up": ("stop", "run_on"),
}


@dataclass(frozen=True)
class DSnoTOptions:
    """Each option is an ablation of the paper.

    max_cycles: the most swaps per row; a float below 1 is a fraction of the row; `auto`: one of
        BUDGETS, chosen block by block on held-out calibration tokens
    update_threshold: a row stops once |e_r| <= this (unit: token sum of a sequence)
    variance_power: gamma; 0 ignores the variance
    variance: `pooled` over all tokens (paper), or the mean within a `sequence` (released code)
    grow, prune: the criteria; for N:M, `prune=signed_wanda` uses the initial scores and no sign
    stop_on_sign_flip: stop a row at a swap that would flip the sign of e_r; `auto`: for N:M only,
        as in the released code
    only_better: a row whose |e_r| would end larger keeps its initial mask; `auto`: only if the
        pruner moved the weights (SparseGPT), which leaves little error to reduce
    used_up: when no kept weight has the wanted sign, `stop` the row (paper), or `run_on` with
        the other sign, the most important first (released code)
    skip: glob patterns of linears, named inside a block, that keep their initial mask
    guard: a row keeps its new mask only if its measured error fell
    """

    max_cycles: int | float | str = 50
    update_threshold: float = 0.1
    variance_power: float = 1.0
    variance: str = "pooled"
    grow: str = "mean_over_var"
    prune: str = "signed_wanda"
    stop_on_sign_flip: str = "auto"
    only_better: str = "auto"
    used_up: str = "stop"
    skip: list[str] = field(default_factory=list)
    guard: bool = False

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{name}={getattr(self, name)}: choose from {', '.join(choices)}")
        if self.max_cycles != AUTO and not _is_budget(self.max_cycles):
            raise ValueError(
                f"max_cycles={self.max_cycles}: expected auto, a whole number of cycles, 0 or "
                "more, or a fraction of the row below 1"
            )
        if not self.update_threshold >= 0:  # nan neither
            raise ValueError(f"update_threshold={self.update_threshold}: expected 0 or more")
        if not math.isfinite(self.variance_power):
            raise ValueError(f"variance_power={self.variance_power}: expected a finite number")


def _is_budget(cycles: int | float | str) -> bool:
    if isinstance(cycles, str | bool) or not 0 <= cycles < math.inf:
        return False
    return cycles < 1 or cycles == int(cycles)
