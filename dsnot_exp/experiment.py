"""One experiment, top to bottom: load, prune, refine, evaluate, record."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dsnot_exp.config import Config
from dsnot_exp.errors import RunError
from dsnot_exp.evaluate.batches import per_forward
from dsnot_exp.evaluate.store import Store
from dsnot_exp.evaluate.suite import Suite
from dsnot_exp.identity import code_fingerprint, config_hash, model_fingerprint
from dsnot_exp.models.blocks import find_blocks
from dsnot_exp.models.linears import linears
from dsnot_exp.models.loading import load_model
from dsnot_exp.models.placement import Placed, place
from dsnot_exp.models.source import Source
from dsnot_exp.plan import STAGES, Plan, make_plan
from dsnot_exp.prepare import Inputs, prepare
from dsnot_exp.solve import BlockSolver, LayerRecord
from dsnot_exp.track.clock import Clock
from dsnot_exp.track.console import Display, say, show_result
from dsnot_exp.track.figure import error_figure
from dsnot_exp.track.result import assemble, finished, settled, write_result
from dsnot_exp.track.save import save_model, saved
from dsnot_exp.track.wandb_run import mirror
from dsnot_exp.walk import walk

log = logging.getLogger(__name__)


def run_experiment(config: Config, folder: Path, command: str) -> dict[str, Any]:
    """Run what `config` asks for and leave the result in `folder`; returns the result."""
    plan = make_plan(config)
    identity = config_hash(plan)
    done = None if config.rerun else finished(folder, identity)
    if done is not None and (saved(folder) or not config.save):
        say(f"already finished: {folder} (rerun=true runs it again)")
        show_result(done, folder)
        return done
    log.info("command: %s", command)
    log.info("configuration: %s", settled(plan))
    clock = Clock(plan.device)
    with clock("load"):
        plan, inputs = prepare(plan)
    with Display() as display:
        suite = Suite(
            plan.config.eval, inputs.evaluation, inputs.tasks, inputs.tokenizer,
            dense_store(plan, inputs.source), display,
        )  # fmt: skip
        experiment = Experiment(plan, inputs, clock, display, suite)
        experiment.run(folder)
    result = assemble(experiment, identity, command)
    write_result(folder, result)  # first: what follows may fail and must not cost the result
    figure = error_figure(experiment.records, folder.name, folder / "errors.png")
    show_result(result, folder, mirror(config.wandb, folder, result, figure))
    if suite.failed:
        raise RunError(
            f"eval.tasks: {', '.join(suite.failed)} failed ({next(iter(suite.failed.values()))}); "
            f"all else is in {folder / 'result.json'}, and the same command tries again"
        )
    return result


def dense_store(plan: Plan, source: Source) -> Store:
    """Where the runs beside this one keep what they have measured of dense models."""
    config = plan.config
    common = {
        "model": model_fingerprint(source),
        "dtype": config.model.dtype,
        "device": plan.device.type,
        "code": code_fingerprint(),
    }
    return Store(Path(config.out) / "dense", common, config.rerun)


@dataclass
class Experiment:
    """The state of one run. A stage is `dense`, `pruned` (the initializer alone, run through to
    the end) or `refined` (the run's own result)."""

    plan: Plan
    inputs: Inputs
    clock: Clock
    display: Display
    suite: Suite
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
            save_model(model.model, self.inputs.tokenizer, folder)

    def _load(self) -> Placed:
        options = self.plan.config.model
        with self.clock("load"):
            model = load_model(self.inputs.source, options.dtype, options.use_safetensors)
            placed = place(model, find_blocks(model, options.blocks), self.plan.device)
        blocks = placed.blocks[1]
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
        return placed

    def _solve(self, model: Placed, refine: bool) -> BlockSolver:
        """Make the model sparse, in place."""
        calib, tokens = self.plan.config.calib, self.inputs.calibration
        batches = []
        if tokens is not None:
            size = calib.batch_size or per_forward(tokens.ids.shape[1])
            batches = [ids.to(self.plan.device) for ids in tokens.ids.split(size)]
        solver = BlockSolver(self.plan, refine, self.clock, self.display.at, say)
        name = "refine" if refine and self.plan.refiner is not None else "prune"
        with self.display.phase(name, len(model.blocks[1])) as display:
            walk(
                model.model,
                model.blocks,
                batches,
                solver,
                self.plan.config.model.dense,
                model.fetch,
                display.advance,
                self.clock,
            )
        return solver

    def _evaluate(self, model: Placed, stage: str) -> None:
        with self.clock("evaluate"):
            self.suite(model, stage)

    def _copy(self, source: str, target: str) -> None:
        """Two stages that are the same model by definition."""
        assert {source, target} <= set(STAGES)
        for group in self.suite.metrics.values():
            for stages in group.values():
                stages[target] = stages[source]
