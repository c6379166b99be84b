"""What pruning and refining one layer came to: its budget and its errors."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from dsnot_exp.products import product
from dsnot_exp.prune import Initial
from dsnot_exp.ranks import ALONE, Ranks
from dsnot_exp.refine import Refined, expected_error
from dsnot_exp.statistics import InputStatistics


@dataclass(frozen=True)
class LayerRecord:
    """One linear layer: its budget, and its error before and after refinement.

    expected: mean over rows of |e_r|; relative: ||(W - W^)X||^2 / ||WX||^2 over so many
    calibration tokens. None where the statistics were not collected.
    """

    layer: str
    weights: int = 0
    zeros: int = 0
    expected_before: float | None = None
    expected_after: float | None = None
    relative_before: float | None = None
    relative_after: float | None = None
    relative_tokens: int | None = None
    swaps: int = 0
    cycles: int = 0

    def reconstruction(self) -> dict[str, Any]:
        return {k: v for k, v in asdict(self).items() if k not in ("weights", "zeros")}


def measure(
    layer: str,
    weight: Tensor,
    initial: Initial,
    sparse: Tensor,
    refined: Refined | None,
    statistics: InputStatistics,
    how: str,
    ranks: Ranks,
) -> LayerRecord:
    """The errors of a layer of which each process has some rows: weight, sparse: (rows, in)."""
    if refined is None:
        before = after = expected_error(weight, initial, statistics)
        swaps = torch.zeros_like(before)
    else:
        before, after, swaps = refined.error_before, refined.error_after, refined.swaps
    before, after, swaps = (ranks.concat(part) for part in (before, after, swaps))
    pruned = initial.weight.masked_fill(~initial.mask, 0)
    tokens, relative = relative_errors(weight, (pruned, sparse), statistics, how, ranks)
    return LayerRecord(
        layer,
        expected_before=float(before.abs().mean()),
        expected_after=float(after.abs().mean()),
        relative_before=relative[0],
        relative_after=relative[1],
        relative_tokens=tokens,
        swaps=int(swaps.sum()),
        cycles=int(swaps.max()),
    )


def relative_errors(
    dense: Tensor,
    sparse: tuple[Tensor, Tensor],
    statistics: InputStatistics,
    how: str,
    ranks: Ranks = ALONE,
) -> tuple[int | None, tuple[float | None, float | None]]:
    """||(W - W^)X||^2 / ||WX||^2 of two sparse weights, and over how many tokens.

    dense, sparse: (rows, in); how: `sample`, `true` (all tokens) or `false` (not at all)
    """
    seen = {"sample": statistics.sample, "true": statistics.gram}.get(how)
    if seen is None:
        return None, (None, None)
    tokens = len(seen) if how == "sample" else statistics.tokens

    def energy(matrix: Tensor) -> float:
        return ranks.total(own_energy(matrix))

    def own_energy(matrix: Tensor) -> float:
        if how == "sample":
            return float(product(seen, matrix.T).square().sum(dtype=torch.float64))
        matrix = matrix.float()  # tr(W G W^T)
        return float(((matrix @ seen) * matrix).sum(dtype=torch.float64))

    whole = energy(dense)
    if whole == 0:
        return tokens, (0.0, 0.0)
    first = energy(dense - sparse[0]) / whole
    same = all(ranks.gather(torch.equal(*sparse)))  # nothing was refined
    return tokens, (first, first if same else energy(dense - sparse[1]) / whole)
