"""What the walk does to one layer: prune, refine, reconstruct, and measure the error."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dsnot_exp.methods.patterns import Pattern, check_budget, over
from dsnot_exp.methods.protocols import Initial, Pruner, Refined, Refiner
from dsnot_exp.methods.prune.magnitude import Magnitude
from dsnot_exp.methods.refine.guard import guarded
from dsnot_exp.methods.statistics import InputStatistics
from dsnot_exp.models.linears import is_routed, matches
from dsnot_exp.utils.distributed import ALONE, Ranks
from dsnot_exp.utils.errors import RunError
from dsnot_exp.walk import returned
from dsnot_exp.walk.recipe import Recipe
from dsnot_exp.walk.record import LayerRecord, measure


@dataclass
class LayerSolver:
    """One layer of a block: its methods, and what they have found so far.

    name: inside the block; layer: in the model
    pattern: of the whole layer; ranks: the processes of the walk
    note: receives what the user should know about this layer
    """

    recipe: Recipe
    name: str
    layer: str
    pattern: Pattern
    ranks: Ranks
    timed: Callable[[str], AbstractContextManager[None]]
    note: Callable[[str], None]

    def __post_init__(self) -> None:
        # A method that looks at all rows together works on the whole matrix in every process.
        self.ranks = self.ranks if self.recipe.rows_independent else ALONE
        self.pattern = over(self.pattern, self.ranks)

    def start(self, weight: Tensor, statistics: InputStatistics | None) -> None:
        """Prune `weight: (out, in)` to the initial mask. Each process takes its share of the
        rows."""
        pruner = self.recipe.pruner
        if self._starved(statistics):
            statistics, pruner = None, Magnitude(scope="row")
        rows = self.ranks.share(len(weight))
        self.weight = weight[rows]
        self.statistics = statistics = self._for_rows(rows, statistics)
        self.initial = self._prune(pruner, self.weight, statistics)
        self.present = self.initial.present(self.weight)

    def _for_rows(self, rows: slice, statistics: InputStatistics | None) -> InputStatistics | None:
        """With the target, and the residual drift of these rows alone."""
        if statistics is None or not self.recipe.dense_stream:
            return statistics
        drift = statistics.residual_drift
        drift = None if drift is None else drift[rows]
        return replace(statistics, target=self.recipe.target, residual_drift=drift)

    def refine(self, refiner: Refiner | None) -> Refined | None:
        with self._stage("refine"):
            return self._refine(refiner, self.weight, self.initial, self.statistics)

    def mask(self, refined: Refined | None) -> Tensor:
        return self.initial.mask if refined is None else refined.mask

    def sparse(self, refined: Refined | None) -> Tensor:
        """This process's rows of the sparse weight, before reconstruction."""
        return self.present.masked_fill(~self.mask(refined), 0)

    def finish(self, refined: Refined | None) -> tuple[LayerRecord, Tensor, Tensor]:
        """The layer's record, its sparse weight and its mask, (out, in) both."""
        weight, statistics, ranks = self.weight, self.statistics, self.ranks
        mask, sparse = self.mask(refined), self.sparse(refined)
        with self._stage("reconstruct"):
            sparse = self._reconstruct(sparse, mask)
        record, how = LayerRecord(self.layer), self.recipe.relative_error
        if statistics is not None:
            record = measure(
                self.layer, weight, self.initial, sparse, refined, statistics, how, ranks,
                moved=self.recipe.reconstructs,
            )  # fmt: skip
        sparse, mask = ranks.concat(sparse), ranks.concat(mask)
        returned.check_sparsity(self.layer, self.recipe.pruner, mask, self.pattern)
        zeros = mask.numel() - int(mask.count_nonzero())
        return replace(record, weights=mask.numel(), zeros=zeros), sparse, mask

    @property
    def moves(self) -> bool:
        """Whether the kept weights are not those of the dense model: a pruner that updates weights,
        or a reconstructor, has seen the layer."""
        reconstructed = self.recipe.reconstructs and self.statistics is not None
        return self.initial.moved or reconstructed

    def _reconstruct(self, sparse: Tensor, mask: Tensor) -> Tensor:
        if not self.recipe.reconstructs:
            return sparse
        method = self.recipe.reconstructor
        updated = method(self.weight, sparse, mask, self.statistics)
        returned.check_reconstructed(self.layer, method, updated, mask)
        return updated

    def _starved(self, statistics: InputStatistics | None) -> bool:
        """Whether the layer is an expert that too few tokens were routed to for its statistics to
        mean anything: it is pruned by magnitude, row by row, and not refined."""
        if not self.recipe.needs or not is_routed(self.name):
            return False
        tokens = 0 if statistics is None else statistics.tokens
        if tokens >= self.recipe.min_tokens:
            return False
        left = ["refined"] if self.recipe.refiner is not None else []
        left += ["reconstructed"] if self.recipe.reconstructs else []
        but = f", not {' or '.join(left)}" if left else ""
        self.note(f"calibration tokens seen: {tokens}; pruned by magnitude{but}")
        return True

    def _prune(self, pruner: Pruner, weight: Tensor, statistics: InputStatistics | None) -> Initial:
        equal_rows = self.recipe.refiner is not None
        with self._stage("prune"):
            initial = pruner(weight, statistics, self.pattern, equal_rows)
        returned.check_initial(self.layer, pruner, initial, weight)
        same = initial.weight is weight  # first: comparing reads both weights
        if not (initial.moved or same or torch.equal(initial.weight, weight)):
            raise RunError(
                f"{self.layer}: {type(pruner).__name__} changed the weight without setting "
                "Initial.moved; the change would be lost"
            )
        if initial.note:
            self.note(initial.note)
        return initial

    def _refine(
        self,
        refiner: Refiner | None,
        weight: Tensor,
        initial: Initial,
        statistics: InputStatistics | None,
    ) -> Refined | None:
        if refiner is None or statistics is None:  # None: an expert that saw too few tokens
            return None
        if any(matches(self.name, glob) for glob in refiner.skip):
            return None
        # Each layer has its own generator: neither the order of layers nor of jobs matters.
        seed = zlib.crc32(f"{self.recipe.seed}:{self.layer}".encode())
        generator = torch.Generator().manual_seed(seed)
        refined = refiner(weight, initial, statistics, self.pattern, generator)
        returned.check_refined(self.layer, refiner, refined, weight)
        by = self.recipe.guarded_with
        if by is not None:
            refined = guarded(refined, weight, initial, statistics, by)
        check_budget(initial.mask, refined.mask, self.pattern)
        return refined

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        """Times a stage, and names the layer in which its arithmetic fails."""
        try:
            with self.timed(name):
                yield
        except ArithmeticError as error:
            raise RunError(f"{self.layer}: {error}") from error
