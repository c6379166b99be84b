"""What the walk does to one block: prune, refine, reconstruct, and record the error per layer."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dsnot_exp.methods.patterns import Pattern, check_budget, over, packed
from dsnot_exp.methods.protocols import Initial, Pruner, Refined, Refiner, candidates
from dsnot_exp.methods.prune.magnitude import Magnitude
from dsnot_exp.methods.refine.guard import guarded, guards
from dsnot_exp.methods.statistics import InputStatistics
from dsnot_exp.models.linears import Linear, is_routed, matches
from dsnot_exp.utils.distributed import ALONE, Ranks
from dsnot_exp.utils.errors import RunError
from dsnot_exp.walk.block_training import BlockStage
from dsnot_exp.walk.choose import choose
from dsnot_exp.walk.loop import untimed
from dsnot_exp.walk.recipe import Recipe
from dsnot_exp.walk.record import LayerRecord, Solved, measure
from dsnot_exp.walk.view import BlockView

NOTES_SHOWN = 8  # one line each; a model with thousands of experts would fill the screen


@dataclass
class BlockSolver:
    """Makes a block sparse by a recipe. `patterns`: each layer's, by its full name."""

    recipe: Recipe
    patterns: Mapping[str, Pattern]
    ranks: Ranks = ALONE
    timed: Callable[[str], AbstractContextManager[None]] = untimed
    on_layer: Callable[[str], None] = lambda layer: None
    on_note: Callable[[str], None] = lambda note: None
    noted: int = 0

    def __call__(self, view: BlockView) -> Solved:
        solved, statistics = Solved(), view.statistics(self.recipe.needs)
        self._note_uncorrected(view, solved, statistics)
        to_choose, trained = candidates(self.recipe.refiner), self._stage(view)
        started: dict[str, LayerSolver] = {}
        for name, linear in view.linears.items():
            layer = LayerSolver(self, solved, name, f"{view.name}.{name}")
            self.on_layer(layer.layer)
            # Popped: a Gram matrix is freed after the last linear that uses it.
            # Cloned: the candidates are tried in the block itself, and a trained weight is compared
            # with it.
            kept = to_choose or trained is not None
            weight = linear.weight.clone() if kept else linear.weight
            layer.start(weight, statistics.pop(name, None))
            if to_choose:
                started[name] = layer
            else:
                self._finish(linear, layer, layer.refine(self.recipe.refiner), trained)
        if started:
            solved.choice, refined = choose(view, started, to_choose, self.timed, self.ranks)
            while started:  # emptied: a layer's Gram matrix is freed with its last linear
                name = next(iter(started))
                self._finish(view.linears[name], started.pop(name), refined[name], trained)
        if trained is not None and trained.layers:
            self.on_layer(view.name)
            with self.timed("reconstruct"):
                solved.fit = trained.run(self.recipe.seed)
            solved.records = trained.measured_anew(solved.records)
        return solved

    def _stage(self, view: BlockView) -> BlockStage | None:
        method, how = self.recipe.block_reconstructor, self.recipe.relative_error
        return None if method is None else BlockStage(method, view, how, self.ranks)

    def _finish(
        self,
        linear: Linear,
        layer: LayerSolver,
        refined: Refined | None,
        trained: BlockStage | None,
    ) -> None:
        """Reconstruct, write and record a layer."""
        record, sparse, mask = layer.finish(refined)
        if not bool(torch.isfinite(sparse.sum(dtype=torch.float32))):
            raise RunError(f"{layer.layer}: its weights hold NaN or infinity after pruning")
        linear.write(sparse)
        layer.solved.records.append(record)
        bits = torch.frombuffer(bytearray(packed(mask)), dtype=torch.uint8)
        layer.solved.masks[f"{layer.layer}{tuple(mask.shape)}"] = bits
        if trained is not None:
            trained.add(linear, mask, layer.weight, layer.statistics, layer.ranks)

    def _note_uncorrected(
        self, view: BlockView, solved: Solved, statistics: Mapping[str, InputStatistics]
    ) -> None:
        """Say where a part of the corrected target is not known."""
        target, seen = self.recipe.target, statistics.values()
        if not self.recipe.dense_stream or not seen:
            return
        without = [name for name, found in statistics.items() if found.drift is None]
        if target.alpha and without:
            where = ", ".join(without[:2]) + (", ..." if len(without) > 2 else "")
            self.note(solved, view.name, f"calib.target.alpha is 0 for {where}: tokens not paired")
        if target.beta and all(found.residual_drift is None for found in seen):
            self.note(
                solved,
                view.name,
                "calib.target.beta is 0: no output is added to the residual stream as it is",
            )

    def note(self, solved: Solved, layer: str, note: str) -> None:
        solved.notes[layer] = note
        self.noted += 1
        if self.noted <= NOTES_SHOWN:
            more = "; further notes: result.json" if self.noted == NOTES_SHOWN else ""
            self.on_note(f"{layer}: {note}{more}")


@dataclass
class LayerSolver:
    """One layer of a block. `name`: inside the block; `layer`: in the model."""

    block: BlockSolver
    solved: Solved
    name: str
    layer: str

    def __post_init__(self) -> None:
        self.recipe, self.timed = self.block.recipe, self.block.timed
        # A method that looks at all rows together works on the whole matrix in every process.
        self.ranks = self.block.ranks if self.recipe.rows_independent else ALONE
        self.pattern = over(self.block.patterns[self.layer], self.ranks)

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
            sparse = self.recipe.reconstructor(weight, sparse, mask, statistics)
        record, how = LayerRecord(self.layer), self.recipe.relative_error
        if statistics is not None:
            record = measure(
                self.layer, weight, self.initial, sparse, refined, statistics, how, ranks,
                moved=self.recipe.reconstructs,
            )  # fmt: skip
        sparse, mask = ranks.concat(sparse), ranks.concat(mask)
        zeros = mask.numel() - int(mask.count_nonzero())
        return replace(record, weights=mask.numel(), zeros=zeros), sparse, mask

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
        self._note(f"calibration tokens seen: {tokens}; pruned by magnitude{but}")
        return True

    def _prune(self, pruner: Pruner, weight: Tensor, statistics: InputStatistics | None) -> Initial:
        equal_rows = self.recipe.refiner is not None
        with self._stage("prune"):
            initial = pruner(weight, statistics, self.pattern, equal_rows)
        same = initial.weight is weight  # first: comparing reads both weights
        if not (initial.moved or same or torch.equal(initial.weight, weight)):
            raise RunError(
                f"{self.layer}: {type(pruner).__name__} changed the weight without setting "
                "Initial.moved; the change would be lost"
            )
        if initial.note:
            self._note(initial.note)
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
        if guards(refiner):
            refined = guarded(refined, weight, initial, statistics, self.recipe.guards_on_gram)
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

    def _note(self, note: str) -> None:
        self.block.note(self.solved, self.layer, note)
