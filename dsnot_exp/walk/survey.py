"""A pass through the dense model, block by block, in which an allocator notes what it needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from dsnot_exp.methods.allocation import Seen, Surveyor
from dsnot_exp.methods.statistics import InputStatistics
from dsnot_exp.models.linears import is_routed
from dsnot_exp.models.placement import Placed
from dsnot_exp.utils.batch_size import per_forward
from dsnot_exp.utils.distributed import ALONE, Ranks
from dsnot_exp.utils.errors import RunError
from dsnot_exp.walk.hidden_states import AUTO, Storage
from dsnot_exp.walk.loop import walk
from dsnot_exp.walk.sequences import begin
from dsnot_exp.walk.view import BlockView


@dataclass
class Survey:
    """A solver that leaves the block alone. found: the allocator's numbers, by layer

    gradients: of the layers' outputs, by layer; None if the allocator needs none
    min_tokens: an expert that saw fewer tokens is not shown to the allocator
    """

    allocator: Surveyor
    gradients: Mapping[str, Tensor] | None = None
    min_tokens: int = 1
    found: dict[str, list[float]] = field(default_factory=dict)

    def __call__(self, view: BlockView) -> None:
        statistics = view.statistics(self.allocator.needs)
        layers = {}
        for name, linear in view.linears.items():
            own, layer = statistics.get(name), f"{view.name}.{name}"
            if self._starved(name, own):
                continue
            gradient = None if self.gradients is None else self.gradients.get(layer)
            if gradient is not None:
                gradient = gradient.to(linear.weight.device)
            layers[layer] = Seen(linear.weight, own, gradient)
        try:
            self.found |= self.allocator.survey(layers)
        except ArithmeticError as error:
            raise RunError(f"{view.name}: {error}") from error

    def _starved(self, name: str, statistics: InputStatistics | None) -> bool:
        if not self.allocator.needs or not is_routed(name):
            return False
        return statistics is None or statistics.tokens < self.min_tokens


@torch.no_grad()
def survey(
    placed: Placed,
    ids: Tensor | None,
    allocator: Surveyor,
    gradients: Mapping[str, Tensor] | None = None,
    *,
    min_tokens: int = 1,
    storage: Storage = AUTO,
    batch_size: int | None = None,
    on_block: Callable[[], None] = lambda: None,
    ranks: Ranks = ALONE,
) -> dict[str, list[float]]:
    """What the allocator notes of each layer of the dense model, the same in every process. A layer
    of which it has noted nothing is absent.

    ids: calibration token ids (sequences, tokens); not used where no statistic is needed
    """
    if not allocator.needs:
        ids = None
    solver = Survey(allocator, gradients, min_tokens)
    size = batch_size or per_forward(ids.shape[1] if ids is not None else 1)
    with begin(placed, ids, size, storage, ranks) as sequences:
        walk(sequences, solver, placed.dense, on_block=on_block, ranks=ranks)
    return ranks.of_first(solver.found)
