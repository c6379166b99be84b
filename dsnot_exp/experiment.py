"""One experiment, top to bottom: load, prune, refine, evaluate, record."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dsnot_exp.config import Config
from dsnot_exp.evaluate.perplexity import perplexity
from dsnot_exp.evaluate.zero_shot import zero_shot
from dsnot_exp.identity import config_hash
from dsnot_exp.models.blocks import find_blocks
from dsnot_exp.models.linears import linears
from dsnot_exp.models.loading import load_model
from dsnot_exp.plan import STAGES, Plan, make_plan
from dsnot_exp.prepare import Inputs, per_forward, prepare
from dsnot_exp.solve import BlockSolver, LayerRecord
from dsnot_exp.track.clock import Clock
from dsnot_exp.track.console import Display, say, show_result
from dsnot_exp.track.figure import error_figure
from dsnot_exp.track.result import assemble, finished, settled, write_result
from dsnot_exp.track.save import save_model
from dsnot_exp.track.wandb_run import mirror
from dsnot_exp.walk import walk

log = logging.getLogger(__name__)


def run_experiment(config: Config, folder: Path, command: str) -> dict[str, Any]:
    """Run what `config` asks for and leave the result in `folder`; returns the result."""
    plan = make_plan(config)
    identity = config_hash(plan)
    done = None if config.rerun else finished(folder, identity)
    if done is not None:
        say(f"already finished: {folder} (rerun=true runs it again)")
        show_result(done, folder)
        return done
    log.info("command: %s", command)
    log.info("configuration: %s", settled(plan))
    clock = Clock(plan.device)
    with clock("load"):
        plan, inputs = prepare(plan)
    with Display() as display:
        experiment = Experiment(plan, inputs, clock, display)
        experiment.run(folder)
    result = assemble(experiment, identity, command)
    write_result(folder, result)  # first: what follows may fail and must not cost the result
    figure = error_figure(experiment.records, folder.name, folder / "errors.png")
    show_result(result, folder, mirror(config.wandb, folder, result, figure))
    return result


@dataclass
class Experiment:
    """The state of one run. A stage is `dense`, `pruned` (the initializer alone, run through to
    the end) or `refined` (the run's own result)."""

    plan: Plan
    inputs: Inputs
    clock: Clock
    display: Display
    metrics: dict[str, dict[str, dict[str, Any]]] = field(
        default_factory=lambda: {"perplexity": {}, "zero_shot": {}}
    )
    facts: dict[str, Any] = field(default_factory=dict)
    solver: BlockSolver | None = None

    @property
    def records(self) -> list[LayerRecord]:
        return [] if self.solver is None else self.solver.records

    def run(self, folder: Path) -> None:
        """Evaluate the stages that are asked for; the last one is the run's result."""
        baselines, refines = self.plan.config.eval.baselines, self.plan.refiner is not None
        model = self._load()
        if self.plan.pruner is None or "dense" in baselines:
            self._evaluate(model, "dense")
        if self.plan.pruner is None:
            self._copy("dense", "refined")
        else:
            if refines and "pruned" in baselines:
                self._solve(model, refine=False)
                self._evaluate(model, "pruned")
                model = self._load()
            self.solver = self._solve(model, refine=True)
            self._evaluate(model, "refined")
            if not refines and "pruned" in baselines:
                self._copy("refined", "pruned")
        if self.plan.config.save:
            save_model(model, self.inputs.tokenizer, folder / "model")

    def _load(self) -> Any:
        options = self.plan.config.model
        with self.clock("load"):
            model = load_model(
                self.inputs.source, options.dtype, options.use_safetensors, self.plan.device
            )
            blocks = find_blocks(model, options.blocks)[1]
        matrices = [p for p in blocks.parameters() if p.dim() > 1]
        self.facts = {
            "parameters": model.num_parameters(),
            "prunable_parameters": sum(
                layer.weight.numel()
                for block in blocks
                for layer in linears(block, options.dense).values()
            ),
            "block_weights": sum(p.numel() for p in matrices),
        }
        return model

    def _solve(self, model: Any, refine: bool) -> BlockSolver:
        """Make the model sparse, in place."""
        options = self.plan.config.model
        blocks = find_blocks(model, options.blocks)
        batches = [ids.to(self.plan.device) for ids in self.inputs.calibration]
        solver = BlockSolver(self.plan, refine, self.clock, self.display.at, say)
        name = "refine" if refine and self.plan.refiner is not None else "prune"
        with self.display.phase(name, len(blocks[1])) as display:
            walk(
                model,
                blocks,
                batches,
                solver,
                options.dense,
                on_block=display.advance,
                timed=self.clock,
            )
        return solver

    def _evaluate(self, model: Any, stage: str) -> None:
        options, inputs = self.plan.config.eval, self.inputs
        for name, tokens in inputs.evaluation.items():
            batch = options.batch_size or per_forward(tokens.shape[1])
            with self.clock("evaluate"), self.display.phase("perplexity", len(tokens)) as display:
                display.at(f"{name}, {stage}")
                value = perplexity(model, tokens, batch, display.advance)
            self.metrics["perplexity"].setdefault(name, {})[stage] = value
            log.info("perplexity of %s, %s: %.4f", name, stage, value)
        if not options.tasks:
            return
        with self.clock("evaluate"), self.display.phase("zero-shot", len(options.tasks)) as display:
            display.at(f"{', '.join(options.tasks)}, {stage}")
            found = zero_shot(
                model,
                inputs.tokenizer,
                options.tasks,
                inputs.tasks,
                options.limit,
                options.batch_size,
            )
            display.advance(len(options.tasks))
        for task, values in found.items():
            self.metrics["zero_shot"].setdefault(task, {})[stage] = values
            log.info("%s, %s: %s", task, stage, values)

    def _copy(self, source: str, target: str) -> None:
        """Two stages that are the same model by definition."""
        assert {source, target} <= set(STAGES)
        for group in self.metrics.values():
            for stages in group.values():
                stages[target] = stages[source]
