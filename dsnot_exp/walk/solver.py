"""What the walk does to one block: layer by layer as in layer_solver.py, then as a whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial

import torch

from dsnot_exp.methods.patterns import Pattern
from dsnot_exp.methods.protocols import Refined, candidates
from dsnot_exp.methods.statistics import InputStatistics
from dsnot_exp.models.linears import Linear
from dsnot_exp.models.masks import mask_name, pack_mask
from dsnot_exp.utils.distributed import ALONE, Ranks
from dsnot_exp.utils.errors import RunError
from dsnot_exp.walk.block_training import BlockStage
from dsnot_exp.walk.choose import choose
from dsnot_exp.walk.layer_solver import LayerSolver
from dsnot_exp.walk.loop import untimed
from dsnot_exp.walk.recipe import Recipe
from dsnot_exp.walk.record import Solved
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
            layer = self.layer(solved, name, f"{view.name}.{name}")
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
                refined = layer.refine(self.recipe.refiner)
                self._finish(solved, linear, layer, refined, trained)
        if started:
            solved.choice, masks = choose(view, started, to_choose, self.timed, self.ranks)
            while started:  # emptied: a layer's Gram matrix is freed with its last linear
                name, layer = next(iter(started)), started.pop(next(iter(started)))
                self._finish(solved, view.linears[name], layer, masks[name], trained)
        if trained is not None and trained.layers:
            self.on_layer(view.name)
            with self.timed("reconstruct"):
                solved.fit = trained.run(self.recipe.seed)
            solved.records = trained.measured_anew(solved.records)
        return solved

    def layer(self, solved: Solved, name: str, layer: str) -> LayerSolver:
        note, pattern = partial(self.note, solved, layer), self.patterns[layer]
        return LayerSolver(self.recipe, name, layer, pattern, self.ranks, self.timed, note)

    def _stage(self, view: BlockView) -> BlockStage | None:
        method, how = self.recipe.block_reconstructor, self.recipe.relative_error
        return None if method is None else BlockStage(method, view, how, self.ranks)

    def _finish(
        self,
        solved: Solved,
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
        solved.records.append(record)
        solved.masks[mask_name(layer.layer, mask)] = pack_mask(mask)
        if layer.moves or trained is not None:
            solved.moved.append(layer.layer)
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
