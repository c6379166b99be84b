"""The record of one layer: its budget and its errors before and after refinement."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from dsnot_exp.methods.layer_error import expected_error, expected_error_of, relative_errors
from dsnot_exp.methods.protocols import Initial, Refined
from dsnot_exp.methods.statistics import InputStatistics
from dsnot_exp.utils.distributed import Ranks


@dataclass(frozen=True)
class LayerRecord:
    """One linear layer: its budget, and its error before and after refinement.

    expected: mean over rows of |e_r|; relative: ||(W - W^)X||^2 / ||WX||^2 over `relative_tokens`
    calibration tokens. None if the statistics were not collected. alpha, beta: of the corrected
    target, where the dense stream is followed.
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
    alpha: float | None = None
    beta: float | None = None

    def reconstruction(self) -> dict[str, Any]:
        return {k: v for k, v in asdict(self).items() if k not in ("weights", "zeros")}


@dataclass(frozen=True)
class Choice:
    """The refinement budget chosen for a block, and what it was chosen by.

    errors: by budget, the mean over held-out tokens of the squared distance between the outputs of
        the sparse and of the dense block, relative to the dense output
    """

    block: str
    chosen: str
    errors: dict[str, float]


@dataclass(frozen=True)
class BlockFit:
    """The training of a block's kept weights.

    error_before, error_after: as a Choice's errors, against the dense model's outputs
    epochs: run; chosen: after which of them the weights were best; 0: they stayed as they were
    """

    block: str
    error_before: float
    error_after: float
    epochs: int
    chosen: int


@dataclass
class Solved:
    """What is known about a block's layers once they are sparse; the weights are in the model.

    notes: by layer, where its method had to do something else
    masks: by the layer's name and shape, eight entries per byte
    choice: of the refinement budget; None if there was none to choose
    fit: of the block's kept weights; None if they were not trained
    moved: the layers whose kept weights are not those of the dense model
    """

    records: list[LayerRecord] = field(default_factory=list)
    notes: dict[str, str] = field(default_factory=dict)
    masks: dict[str, Tensor] = field(default_factory=dict)
    choice: Choice | None = None
    fit: BlockFit | None = None
    moved: list[str] = field(default_factory=list)


def measure(
    layer: str,
    weight: Tensor,
    initial: Initial,
    sparse: Tensor,
    refined: Refined | None,
    statistics: InputStatistics,
    how: str,
    ranks: Ranks,
    moved: bool = False,
) -> LayerRecord:
    """The errors of a layer. Each process passes its share of the rows; weight, sparse: (rows,
    in). moved: a reconstructor has changed the kept weights."""
    if refined is None:
        before = after = expected_error(weight, initial, statistics)
        swaps = torch.zeros_like(before)
    else:
        before, after, swaps = refined.error_before, refined.error_after, refined.swaps
    if moved:
        after = expected_error_of(weight, sparse, statistics)
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
        alpha=None if statistics.drift is None else statistics.target.alpha,
        beta=None if statistics.residual_drift is None else statistics.target.beta,
    )
