"""Tries allocations on the model: how far its predictions are from those of the dense model.

A layer is pruned anew when its pattern changes, with the statistics of the dense model, which are
collected once. So a trial costs the layers that changed since the last one, and a forward.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from dsnot_exp.methods.patterns import Pattern
from dsnot_exp.methods.protocols import Pruner
from dsnot_exp.methods.prune.magnitude import Magnitude
from dsnot_exp.methods.statistics import InputStatistics
from dsnot_exp.models.linears import Linear, all_linears, is_routed
from dsnot_exp.models.placement import Placed
from dsnot_exp.utils.batch_size import per_forward
from dsnot_exp.utils.distributed import ALONE, Ranks
from dsnot_exp.utils.errors import RunError
from dsnot_exp.walk.hidden_states import AUTO, Storage
from dsnot_exp.walk.loop import walk
from dsnot_exp.walk.sequences import begin
from dsnot_exp.walk.view import BlockView

KEPT = 1 << 26  # entries of the dense model's predictions, over all sequences


@dataclass
class Trial:
    """How far the model is from the dense one under an allocation.

    ids: this process's sequences; pruner: of the trials
    statistics: of each layer's inputs in the dense model; a layer without is pruned by magnitude
    dense: the weights to return to
    predictions: of the dense model, by sequence, (positions, vocabulary) log probabilities, at
        every `every`-th position
    """

    placed: Placed
    ids: Tensor
    layers: Mapping[str, Linear]
    pruner: Pruner
    statistics: Mapping[str, InputStatistics]
    ranks: Ranks
    dense: dict[str, Tensor] = field(default_factory=dict)
    present: dict[str, Pattern] = field(default_factory=dict)
    predictions: list[Tensor] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.dense = {name: layer.weight.clone() for name, layer in self.layers.items()}
        vocabulary = self.placed.model.config.get_text_config().vocab_size
        self.every = max(1, -(-self.ids.numel() * vocabulary // KEPT))
        self.predictions = [self._predicted(row) for row in self.ids]

    @torch.no_grad()
    def __call__(self, patterns: Mapping[str, Pattern], sequences: int | None = None) -> float:
        """The mean over positions of the Kullback-Leibler divergence from the dense model."""
        for name, pattern in patterns.items():
            if self.present.get(name) != pattern:
                self._prune(name, pattern)
        size = self.ranks.size
        most = len(self.ids) if sequences is None else -(-sequences // size)
        total, positions = 0.0, 0
        for row, wanted in zip(self.ids[:most], self.predictions[:most], strict=True):
            lost = wanted.exp() * (wanted - self._predicted(row))
            total += float(lost.sum(dtype=torch.float64))
            positions += len(wanted)
        parts = self.ranks.gather((total, positions))
        found = sum(part for part, _ in parts) / max(1, sum(count for _, count in parts))
        return found if found == found else float("inf")  # NaN: the model is broken

    def _prune(self, name: str, pattern: Pattern) -> None:
        own = self.statistics.get(name)
        pruner = Magnitude("row") if own is None else self.pruner
        try:
            initial = pruner(self.dense[name], own, pattern, False)
        except ArithmeticError as error:
            raise RunError(f"{name}: {error}") from error
        self.layers[name].write(initial.weight.masked_fill(~initial.mask, 0))
        self.present[name] = pattern

    @torch.no_grad()
    def _predicted(self, row: Tensor) -> Tensor:
        logits = self.placed.model(input_ids=row[None], use_cache=False).logits[0, :: self.every]
        return log_softmax(logits.float(), -1)

    def restore(self) -> None:
        for name, weight in self.dense.items():
            self.layers[name].write(weight)


@contextmanager
def trial(
    placed: Placed,
    ids: Tensor,
    samples: int,
    pruner: Pruner,
    *,
    min_tokens: int = 1,
    storage: Storage = AUTO,
    batch_size: int | None = None,
    on_block: Callable[[], None] = lambda: None,
    ranks: Ranks = ALONE,
) -> Iterator[Trial]:
    """A trial of the model, whose weights are dense again afterwards. Holds a second copy of the
    weights, and the statistics of all inputs.

    ids: calibration token ids (sequences, tokens), all of which count for the statistics; samples:
        as many of them are predicted
    min_tokens: an expert that saw fewer is pruned by magnitude
    """
    if not placed.whole:
        raise RunError(
            "allocate=linear and allocate=search need the whole model on the device, and it does "
            "not fit; choose allocate=fisher or allocate=owl, or a larger device"
        )
    statistics: dict[str, InputStatistics] = {}

    def note(view: BlockView) -> None:
        for name, seen in view.statistics(pruner.needs).items():
            if seen.tokens >= min_tokens or not is_routed(name):
                statistics[f"{view.name}.{name}"] = seen

    with begin(placed, ids, batch_size or per_forward(ids.shape[1]), storage, ranks) as sequences:
        walk(sequences, note, placed.dense, on_block=on_block, ranks=ranks)
    few = ids[:samples]
    own = few[ranks.share(len(few))].to(placed.device)
    layers = all_linears(placed.blocks, placed.dense)
    found = Trial(placed, own, layers, pruner, statistics, ranks)
    try:
        yield found
    finally:
        found.restore()
