"""One experiment, top to bottom: load, prune, refine, fine-tune, evaluate, record."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dsnot_exp.calibration import calibration
from dsnot_exp.errors import RunError
from dsnot_exp.evaluate.suite import Suite
from dsnot_exp.journal import Journal
from dsnot_exp.measure import LayerRecord
from dsnot_exp.models.bring import bring
from dsnot_exp.models.linears import linears
from dsnot_exp.models.placement import Placed
from dsnot_exp.models.source import Source
from dsnot_exp.models.streamed import Streamed
from dsnot_exp.plan import STAGES, Plan
from dsnot_exp.prepare import Inputs
from dsnot_exp.solve import BlockSolver
from dsnot_exp.state import RunState
from dsnot_exp.track.clock import Clock
from dsnot_exp.track.console import Display, say
from dsnot_exp.track.save import complete_folder, save_model
from dsnot_exp.walk import walk


@dataclass
class Experiment:
    """The state of one run. A stage is `dense`, `pruned` (the initializer alone, run through to
    the end) or `refined` (the run's own result)."""

    plan: Plan
    inputs: Inputs
    clock: Clock
    display: Display
    suite: Suite
    state: RunState
    facts: dict[str, Any] = field(default_factory=dict)
    solver: BlockSolver | None = None
    finetuned: dict[str, Any] | None = None

    @property
    def records(self) -> list[LayerRecord]:
        return [] if self.solver is None else self.solver.records

    def run(self, folder: Path) -> None:
        """Evaluate the stages that are asked for; the last one is the run's result."""
        baselines, refines = self.plan.config.eval.baselines, self.plan.refiner is not None
        finetunes = self.plan.finetuner is not None
        model = self._load()
        if self.plan.pruner is None or "dense" in baselines:
            self._evaluate(model, "dense")
        if self.plan.pruner is None:
            self._copy("dense", "refined")
        else:
            if refines and "pruned" in baselines and not self._recall("pruned"):
                self._solve(model, "pruned")
                self._evaluate(model, "pruned")
                self._remember("pruned")
                model = self._load()
            self.solver = self._solve(model, "refined")
            if finetunes:
                if not refines and "pruned" in baselines:
                    self._evaluate(model, "pruned")
                self.finetuned = self._finetune(model)
            self._evaluate(model, "refined")
            if not refines and not finetunes and "pruned" in baselines:
                self._copy("refined", "pruned")
        if self.plan.config.save and self.plan.ranks.first:
            save_model(model, self.inputs.tokenizer, folder)

    def _load(self) -> Placed:
        options = self.plan.config.model
        with self.clock("load"):
            placed = bring(self.inputs.source, options, self.plan.device)
        if self.plan.finetuner is not None and not placed.whole:
            raise RunError(
                "finetune=lora: the model does not fit on the device, and training it block by "
                "block is not possible; choose a larger device, device=cpu, or finetune=none"
            )
        blocks = placed.blocks[1]
        matrices = [p for p in blocks.parameters() if p.dim() > 1]
        self.facts = {
            "parameters": placed.model.num_parameters(),
            "prunable_parameters": sum(
                layer.weight.numel()
                for block in blocks
                for layer in linears(block, options.dense).values()
            ),
            "block_weights": sum(p.numel() for p in matrices),
        }
        return placed

    def _solve(self, model: Placed, stage: str) -> BlockSolver:
        """Make the model sparse, in place."""
        refines = stage == "refined"
        solver = BlockSolver(self.plan, refines, self.clock, self.display.at, say)
        journal = self._journal(model, stage)
        for solved in journal.solved if journal is not None else []:
            solver.add(solved)
        name = "refine" if refines and self.plan.refiner is not None else "prune"
        with (
            self.display.phase(name, len(model.blocks[1])) as display,
            calibration(
                self.plan, self.inputs.calibration, model, self.state.folder.parent
            ) as sequences,
        ):
            walk(
                sequences,
                solver,
                self.plan.config.model.dense,
                journal,
                display.advance,
                self.clock,
                self.plan.ranks,
            )
        if isinstance(model, Streamed):
            assert journal is not None
            if self.plan.ranks.first:
                complete_folder(model, journal.folder / "model")
            self.plan.ranks.wait()
            model.source = Source(
                str(journal.folder / "model"), trust_remote_code=model.source.trust_remote_code
            )
        return solver

    def _journal(self, model: Placed, stage: str) -> Journal | None:
        """The state of this walk on disk, if it has any."""
        with self.clock("load"):
            journal = self.state.journal(stage, model)
        if journal is not None and journal.finished:
            say(f"going on at block {journal.finished} of {journal.count} ({stage})")
        return journal

    def _remember(self, stage: str) -> None:
        if not self.suite.failed:
            self.state.remember(stage, self.suite.of(stage))
        self.state.forget_walk(stage)

    def _recall(self, stage: str) -> bool:
        """Whether a stage was evaluated before the run was stopped."""
        metrics = self.state.recall(stage)
        if metrics is None:
            return False
        self.suite.put(stage, metrics)
        return True

    def _finetune(self, model: Placed) -> dict[str, Any]:
        """Train the sparse layers in place; their masks stay."""
        options, tokens = self.plan.finetuner, self.inputs.finetuning
        assert options is not None
        assert tokens is not None
        name, blocks = model.blocks
        layers = {
            f"{name}.{index}.{linear}": matrix
            for index, block in enumerate(blocks)
            for linear, matrix in linears(block, self.plan.config.model.dense).items()
        }
        parameters = [f"{layer}.{matrix.name}" for layer, matrix in layers.items()]
        with self.clock("finetune"), self.display.phase("finetune", options.steps) as display:

            def on_step(loss: float) -> None:
                display.at(f"loss {loss:.3f}")
                display.advance()

            seed = self.plan.config.seed
            facts = options(model.model, parameters, tokens.ids, seed, on_step)
        for record in self.records:
            kept = int((layers[record.layer].weight == 0).sum()) >= record.zeros
            assert kept, f"{record.layer}: training changed its mask"
        return facts

    def _evaluate(self, model: Placed, stage: str) -> None:
        with self.clock("evaluate"):
            self.suite(model, stage)

    def _copy(self, source: str, target: str) -> None:
        """Two stages that are the same model by definition."""
        assert {source, target} <= set(STAGES)
        for group in self.suite.metrics.values():
            for stages in group.values():
                stages[target] = stages[source]
