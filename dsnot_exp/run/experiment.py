"""One experiment, top to bottom: load, prune, refine, fine-tune, evaluate."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dsnot_exp.config import STAGES
from dsnot_exp.evaluate.suite import Suite
from dsnot_exp.models.linears import all_linears
from dsnot_exp.models.open import open_model
from dsnot_exp.models.placement import Placed
from dsnot_exp.models.save import complete_folder, save_model
from dsnot_exp.models.source import Source
from dsnot_exp.models.streamed import Streamed
from dsnot_exp.results.file import MODEL
from dsnot_exp.results.outcome import Outcome
from dsnot_exp.run.clock import Clock
from dsnot_exp.run.inputs import Inputs
from dsnot_exp.run.plan import Plan
from dsnot_exp.run.state import RunState
from dsnot_exp.utils.console import Display, say
from dsnot_exp.utils.errors import RunError
from dsnot_exp.walk.hidden_states import Storage
from dsnot_exp.walk.journal import Journal
from dsnot_exp.walk.recipe import Recipe
from dsnot_exp.walk.sparsify import Sparsified, sparsify


@dataclass
class Experiment:
    """One run. Its stages are `dense`, `pruned` (all blocks pruned by the initializer, without
    refinement) and `refined` (the run's own result)."""

    plan: Plan
    inputs: Inputs
    clock: Clock
    display: Display
    suite: Suite
    state: RunState
    facts: dict[str, int] = field(default_factory=dict)
    block_weights: int = 0
    sparse: Sparsified | None = None
    finetuned: dict[str, Any] | None = None

    def run(self, folder: Path) -> Outcome:
        """Produce and evaluate the requested stages; the last one is the run's result."""
        plan, recipe = self.plan, self.plan.recipe
        baselines, finetunes = plan.config.eval.baselines, plan.finetuner is not None
        model = self._load()
        if recipe is None or "dense" in baselines:
            self._evaluate(model, "dense")
        if recipe is None:
            self._copy("dense", "refined")
        else:
            if plan.refines and "pruned" in baselines and not self._recall("pruned"):
                self._sparsify(model, recipe.initializer_only(), "pruned")
                self._evaluate(model, "pruned")
                self._remember("pruned")
                model = self._load()
            self.sparse = self._sparsify(model, recipe, "refined")
            if finetunes:
                if not plan.refines and "pruned" in baselines:
                    self._evaluate(model, "pruned")
                self.finetuned = self._finetune(model)
            self._evaluate(model, "refined")
            if not plan.refines and not finetunes and "pruned" in baselines:
                self._copy("refined", "pruned")
        if plan.config.save and plan.ranks.first:
            save_model(model, self.inputs.tokenizer, folder / MODEL)
        return self._outcome()

    def _outcome(self) -> Outcome:
        sparse = self.sparse
        return Outcome(
            config=self.plan.config,
            device=self.plan.device,
            revision=self.inputs.source.revision,
            facts=self.facts,
            block_weights=self.block_weights,
            metrics=self.suite.metrics,
            failed=self.suite.failed,
            reused=self.suite.reused,
            data=self.inputs.records(),
            account=self.clock.account(),
            records=sparse.records if sparse is not None else [],
            notes=sparse.notes if sparse is not None else {},
            masks_sha256=sparse.masks_sha256 if sparse is not None else None,
            finetuned=self.finetuned,
        )

    def _load(self) -> Placed:
        options = self.plan.config.model
        with self.clock("load"):
            placed = open_model(self.inputs.source, options, self.plan.device)
        if self.plan.finetuner is not None and not placed.whole:
            raise RunError(
                "finetune=lora: the model does not fit on the device and cannot be trained block "
                "by block; choose a larger device, device=cpu, or finetune=none"
            )
        blocks = placed.blocks[1]
        self.block_weights = sum(p.numel() for p in blocks.parameters() if p.dim() > 1)
        self.facts = {
            "parameters": placed.model.num_parameters(),
            "prunable_parameters": sum(
                layer.weight.numel() for layer in all_linears(placed.blocks, placed.dense).values()
            ),
        }
        return placed

    def _sparsify(self, model: Placed, recipe: Recipe, stage: str) -> Sparsified:
        """Prune and refine the model in place."""
        plan, calibration = self.plan, self.inputs.calibration
        journal = self._journal(model, stage)
        name = "prune" if recipe.refiner is None else "refine"
        with self.display.phase(name, len(model.blocks[1])) as display:
            sparse = sparsify(
                model,
                calibration.ids if calibration is not None else None,
                recipe,
                journal=journal,
                storage=Storage(plan.config.calib.states, self.state.folder.parent),
                batch_size=plan.config.calib.batch_size,
                on_block=display.advance,
                on_layer=display.at,
                on_note=say,
                timed=self.clock,
                ranks=plan.ranks,
            )
        if isinstance(model, Streamed):
            assert journal is not None
            self._complete(model, journal.folder / "model")
        return sparse

    def _complete(self, model: Streamed, folder: Path) -> None:
        """Turn the journal's shards into a model folder, and read the model from it from now on."""
        if self.plan.ranks.first:
            complete_folder(model, folder)
        self.plan.ranks.wait()
        trust = model.source.trust_remote_code
        model.source = Source(str(folder), trust_remote_code=trust)

    def _journal(self, model: Placed, stage: str) -> Journal | None:
        """The journal of this stage, or None if the run keeps no state."""
        with self.clock("load"):
            journal = self.state.journal(stage, model)
        if journal is not None and journal.finished:
            say(f"resuming at block {journal.finished} of {journal.count} ({stage})")
        return journal

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
        return True

    def _finetune(self, model: Placed) -> dict[str, Any]:
        """Train the sparse layers in place under their masks."""
        finetuner, tokens, sparse = self.plan.finetuner, self.inputs.finetuning, self.sparse
        assert finetuner is not None
        assert tokens is not None
        assert sparse is not None
        layers = all_linears(model.blocks, model.dense)
        parameters = [f"{layer}.{matrix.name}" for layer, matrix in layers.items()]
        with self.clock("finetune"), self.display.phase("finetune", finetuner.steps) as display:

            def on_step(loss: float) -> None:
                display.at(f"loss {loss:.3f}")
                display.advance()

            seed = self.plan.config.seed
            facts = finetuner(model.model, parameters, tokens.ids, seed, on_step)
        for record in sparse.records:
            kept = int((layers[record.layer].weight == 0).sum()) >= record.zeros
            assert kept, f"{record.layer}: training changed its mask"
        return facts

    def _evaluate(self, model: Placed, stage: str) -> None:
        with self.clock("evaluate"):
            self.suite(model, stage)

    def _copy(self, source: str, target: str) -> None:
        """Copy metrics between two stages that are the same model by definition."""
        assert {source, target} <= set(STAGES)
        for group in self.suite.metrics.values():
            for stages in group.values():
                stages[target] = stages[source]
