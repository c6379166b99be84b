"""One experiment, top to bottom: load, prune, refine, fine-tune, evaluate."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from dsnot_exp.models.placement import Placed
from dsnot_exp.models.save import save_model
from dsnot_exp.results.file import MODEL
from dsnot_exp.results.outcome import Outcome
from dsnot_exp.run.allocate_stage import allocate_stage
from dsnot_exp.run.already_sparse import record_of
from dsnot_exp.run.clock import Clock
from dsnot_exp.run.finetune_stage import finetune_stage
from dsnot_exp.run.fingerprint import plugins_of
from dsnot_exp.run.inputs import Inputs
from dsnot_exp.run.kept_stage import make_sparse, measured_store
from dsnot_exp.run.measurements import Measurements
from dsnot_exp.run.opened import Opened, open_for
from dsnot_exp.run.plan import Plan
from dsnot_exp.run.sparse_stage import computed_with
from dsnot_exp.run.state import RunState
from dsnot_exp.utils.console import Display
from dsnot_exp.walk.kept import KeptSparse
from dsnot_exp.walk.recipe import Recipe
from dsnot_exp.walk.sparsified import Sparsified

SPARSE = "sparse"  # in reused_stages: an earlier run has made the sparse model


@dataclass
class Experiment:
    """One run. Its stages are `dense`, `pruned` (all blocks pruned by the initializer, without
    refinement) and `refined` (the run's own result).

    identity: hash of the configuration
    opened: what is known of the model before it is pruned
    """

    plan: Plan
    inputs: Inputs
    clock: Clock
    display: Display
    state: RunState
    measured: Measurements
    identity: str
    opened: Opened | None = None
    reused_stages: list[str] = field(default_factory=list)
    sparse: Sparsified | None = None
    kept: KeptSparse | None = None
    finetuned: dict[str, Any] | None = None

    def run(self, folder: Path) -> Outcome:
        """Produce and evaluate the requested stages; the last one is the run's result."""
        plan, recipe = self.plan, self.plan.recipe
        pruned, finetunes = plan.evaluates_pruned, plan.finetuner is not None
        model = self._load()
        if recipe is None or "dense" in plan.config.eval.baselines:
            self.measured.evaluate(model, "dense")
        if recipe is None:
            self.measured.copy("dense", "refined")
        else:
            if not self.inputs.kept.complete:
                recipe = self._allocate(model, recipe)
            initializer = recipe.initializer_only()
            if pruned and recipe != initializer and self._evaluate_pruned(model, initializer):
                del model  # it is sparse now; two models may not fit into memory
                model = self._load()
            self.sparse = self._sparsify(model, recipe, "refined")
            # Blocks that an earlier process solved were not reported by this one.
            self.measured.tracking.blocks("refined", self.sparse)
            if finetunes:
                if pruned and recipe == initializer:
                    self.measured.evaluate(model, "pruned")
                self.finetuned = finetune_stage(
                    model, self.sparse, plan, self.inputs, self.clock, self.display
                )
            self.measured.evaluate(model, "refined")
            if pruned and recipe == initializer and not finetunes:
                self.measured.copy("refined", "pruned")
                self.measured.share_pruned()
        if plan.config.save and plan.ranks.first:
            assert self.opened is not None
            before = self.opened.found
            record = record_of(plan, self.inputs.source, self.identity, before, self.sparse)
            save_model(model, self.inputs.tokenizer, folder / MODEL, record)
        return self._outcome(folder)

    def _outcome(self, folder: Path) -> Outcome:
        plan, sparse = self.plan, self.sparse or Sparsified()
        opened = self.opened
        assert opened is not None
        return Outcome(
            config=plan.config,
            device=plan.device,
            revision=self.inputs.source.revision,
            facts=opened.facts,
            block_weights=opened.block_weights,
            metrics=self.measured.suite.metrics,
            failed=self.measured.suite.failed,
            reused=self.measured.suite.reused,
            data=self.inputs.records(),
            account=self.clock.account(),
            computed=computed_with(plan, sparse, self.measured.suite.batch),
            reused_stages=self.reused_stages,
            records=sparse.records,
            zeros=opened.found.zeros if self.sparse is None else {},
            notes=sparse.notes,
            choices=sparse.choices,
            targets=sparse.targets,
            fits=sparse.fits,
            masks=None if self.kept is None else self.kept.summary(folder),
            measured_earlier=self.measured.suite.taken,
            masks_sha256=None if self.sparse is None else sparse.masks_sha256,
            finetuned=self.finetuned,
            plugins={key: one.record() for key, one in plugins_of(plan).items()},
            warnings=[*self.inputs.warnings, *opened.warnings],
        )

    def _load(self) -> Placed:
        """The dense model, freshly opened. What is known of it is found out the first time."""
        with self.clock("load"):
            placed = open_for(self.plan, self.inputs)
            self.opened = self.opened or Opened.of(placed, self.plan, self.inputs)
        if self.opened.found.sparse is not None:
            self.measured.suite.before = "sparse already"
        return placed

    def _allocate(self, model: Placed, recipe: Recipe) -> Recipe:
        """The recipe with each layer's pattern, which needs the dense model."""
        recipe, reused = allocate_stage(
            model, recipe, self.plan, self.inputs, self.state, self.clock, self.display
        )
        self.reused_stages += ["allocation"] if reused else []
        return recipe

    def _sparsify(self, model: Placed, recipe: Recipe, stage: str) -> Sparsified:
        """Prune and refine the model in place, or take what an earlier run has kept."""
        name = "prune" if recipe.refiner is None else "refine"
        plan, inputs = self.plan, self.inputs
        with self.display.phase(name, len(model.blocks[1])) as display:
            made = make_sparse(
                model, recipe, stage, plan, inputs, self.state, self.clock, display,
                partial(self.measured.tracking.block, stage),
            )  # fmt: skip
        measured = measured_store(plan, inputs, inputs.kept.stores[stage], made)
        if measured is not None:  # LoRA changes the model after it was measured as `pruned`
            measures = "pruned" if plan.finetuner is not None else stage
            self.measured.suite.shared[measures] = measured
        if stage == "refined":
            self.kept = made.kept
            self.reused_stages += [SPARSE] if made.reused else []
        return made.sparse

    def _evaluate_pruned(self, model: Placed, initializer: Recipe) -> bool:
        """Measure the model pruned by the initializer alone, unless this run or another one has
        done so. Returns whether `model` has become sparse."""
        if self.measured.recall_pruned():
            return False

        def measure() -> None:
            self._sparsify(model, initializer, "pruned")
            self.measured.evaluate(model, "pruned")

        reused = self.measured.take_pruned_or(measure)
        self.reused_stages += ["pruned"] if reused else []
        return not reused
