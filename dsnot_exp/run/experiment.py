"""One experiment, top to bottom: load, prune, refine, fine-tune, evaluate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from dsnot_exp.config import STAGES
from dsnot_exp.evaluate.store import Store
from dsnot_exp.evaluate.suite import Metrics, Suite
from dsnot_exp.models.placement import Placed
from dsnot_exp.models.save import save_model
from dsnot_exp.results.file import MODEL
from dsnot_exp.results.outcome import Outcome
from dsnot_exp.results.tracking.tracking import Tracking
from dsnot_exp.run.allocate_stage import allocate_stage
from dsnot_exp.run.already_sparse import record_of
from dsnot_exp.run.clock import Clock
from dsnot_exp.run.finetune_stage import finetune_stage
from dsnot_exp.run.fingerprint import plugins_of
from dsnot_exp.run.inputs import Inputs
from dsnot_exp.run.kept_stage import make_sparse, measured_store
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

    shared: the measurements of the `pruned` stage that runs with the same initializer share
    identity: hash of the configuration
    tracking: where the run is reported while it goes
    opened: what is known of the model before it is pruned
    """

    plan: Plan
    inputs: Inputs
    clock: Clock
    display: Display
    suite: Suite
    state: RunState
    shared: Store
    identity: str
    tracking: Tracking
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
            self._evaluate(model, "dense")
        if recipe is None:
            self._copy("dense", "refined")
        else:
            if not self.inputs.kept.complete:
                recipe = self._allocate(model, recipe)
            initializer = recipe.initializer_only()
            if pruned and recipe != initializer and self._evaluate_pruned(model, initializer):
                del model  # it is sparse now; two models may not fit into memory
                model = self._load()
            self.sparse = self._sparsify(model, recipe, "refined")
            self.tracking.blocks("refined", self.sparse)  # those that an earlier process solved
            if finetunes:
                if pruned and recipe == initializer:
                    self._evaluate(model, "pruned")
                self.finetuned = finetune_stage(
                    model, self.sparse, plan, self.inputs, self.clock, self.display
                )
            self._evaluate(model, "refined")
            if pruned and recipe == initializer and not finetunes:
                self._copy("refined", "pruned")
                self._share(lambda: self.suite.of("pruned"))
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
            metrics=self.suite.metrics,
            failed=self.suite.failed,
            reused=self.suite.reused,
            data=self.inputs.records(),
            account=self.clock.account(),
            computed=computed_with(plan, sparse, self.suite.batch),
            reused_stages=self.reused_stages,
            records=sparse.records,
            zeros=opened.found.zeros if self.sparse is None else {},
            notes=sparse.notes,
            choices=sparse.choices,
            targets=sparse.targets,
            fits=sparse.fits,
            masks=None if self.kept is None else self.kept.summary(folder),
            measured_earlier=self.suite.taken,
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
            self.suite.before = "sparse already"
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
                partial(self.tracking.block, stage),
            )  # fmt: skip
        measured = measured_store(plan, inputs, inputs.kept.stores[stage], made)
        if measured is not None:  # LoRA changes the model after it was measured as `pruned`
            measures = "pruned" if plan.finetuner is not None else stage
            self.suite.shared[measures] = measured
        if stage == "refined":
            self.kept = made.kept
            self.reused_stages += [SPARSE] if made.reused else []
        return made.sparse

    def _evaluate_pruned(self, model: Placed, initializer: Recipe) -> bool:
        """Measure the model pruned by the initializer alone, unless this run or another one has
        done so. Returns whether `model` has become sparse."""
        if self._recall("pruned"):
            return False

        def measure() -> Metrics:
            self._sparsify(model, initializer, "pruned")
            self._evaluate(model, "pruned")
            return self.suite.of("pruned")

        found, reused = self._share(measure)
        if reused:
            self.suite.put("pruned", found)
            self.tracking.stage("pruned", found)
            self.reused_stages.append("pruned")
            return False
        self._remember("pruned")
        return True

    def _share(self, measure: Callable[[], Metrics]) -> tuple[Metrics, bool]:
        """The metrics of the `pruned` stage and True if an earlier run has measured them. Otherwise
        `measure` them, for later runs too."""
        stage = {"stage": "pruned"}
        return self.shared.get_or(stage, measure, complete=lambda: not self.suite.failed)

    def _remember(self, stage: str) -> None:
        if not self.suite.failed:
            self.state.remember(stage, self.suite.of(stage))
        self.state.clear_stage(stage)

    def _recall(self, stage: str) -> bool:
        """Restore the metrics of a stage that an earlier process evaluated; False if none did."""
        metrics = self.state.recall(stage)
        if metrics is None:
            return False
        self.suite.put(stage, metrics)
        self.tracking.stage(stage, metrics)
        return True

    def _evaluate(self, model: Placed, stage: str) -> None:
        with self.clock("evaluate"):
            self.suite(model, stage)

    def _copy(self, source: str, target: str) -> None:
        """Copy metrics between two stages that are the same model by definition."""
        assert {source, target} <= set(STAGES)
        for group in self.suite.metrics.values():
            for stages in group.values():
                stages[target] = stages[source]
        self.tracking.stage(target, self.suite.of(target))
