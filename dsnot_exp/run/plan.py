"""Checks a configuration and builds its methods. Every error that can be detected before a model or
a data set is loaded is raised here."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace

import torch
from omegaconf import DictConfig

from dsnot_exp.config import CalibConfig, Config, EvalConfig, TargetConfig
from dsnot_exp.methods import registry
from dsnot_exp.methods.block_protocols import trains_blocks
from dsnot_exp.methods.patterns import parse
from dsnot_exp.methods.protocols import Finetuner
from dsnot_exp.methods.reconstruct.none import Keep
from dsnot_exp.methods.statistics import Target
from dsnot_exp.run.build_method import build
from dsnot_exp.run.composed import request_of
from dsnot_exp.run.device import device_of
from dsnot_exp.run.settle import is_none, settle
from dsnot_exp.utils.distributed import Ranks, current
from dsnot_exp.utils.errors import RequestError
from dsnot_exp.walk.allocation import reads_tokens
from dsnot_exp.walk.recipe import Recipe

HELD_OUT_SHARE = 16  # one sequence held out per so many samples


@dataclass(frozen=True)
class Plan:
    """A checked configuration and its methods.

    config: the configuration with `sparsity` resolved
    recipe: pattern, pruner, refiner and the like; None with prune=none
    """

    config: Config
    recipe: Recipe | None
    finetuner: Finetuner | None
    device: torch.device
    ranks: Ranks = field(default_factory=current)

    @property
    def refines(self) -> bool:
        return self.recipe is not None and self.recipe.refiner is not None

    @property
    def needs_calibration(self) -> bool:
        recipe = self.recipe
        return recipe is not None and (bool(recipe.needs) or reads_tokens(recipe.allocator))

    @property
    def evaluates_pruned(self) -> bool:
        evaluation = self.config.eval
        return "pruned" in evaluation.baselines and bool(evaluation.perplexity or evaluation.tasks)

    @property
    def held_out(self) -> int:
        """Sequences on which refinement budgets or trained weights are chosen; 0 if nothing is."""
        calib = self.config.calib
        if self.recipe is None or not self.recipe.holds_out:
            return 0
        return calib.held_out or max(1, calib.samples // HELD_OUT_SHARE)

    def initializer_only(self) -> Plan:
        """The plan of the `pruned` stage, which all runs with the same pruner share."""
        assert self.recipe is not None
        none, recipe = {"name": registry.NONE}, self.recipe.initializer_only()
        config = replace(
            self.config,
            refine=none,
            reconstruct=none,
            finetune=none,
            calib=replace(self.config.calib, held_out=None, target=TargetConfig(*recipe.target)),
            eval=replace(self.config.eval, baselines=[]),
        )
        return replace(self, config=config, recipe=recipe, finetuner=None)

    def sparse_only(self) -> Plan:
        """The plan without what has no part in the sparse model: what is measured of it, what is
        trained on top of it, and calibration options that nothing uses."""
        config, calib = self.config, self.config.calib
        used = replace(calib, held_out=self.held_out or None)
        config = replace(
            config,
            model=replace(config.model, perplexity=[], tasks=[], max_cycles="auto"),
            calib=used if self.needs_calibration else CalibConfig(),
            finetune={"name": registry.NONE},
            eval=EvalConfig(name=registry.NONE),
        )
        return replace(self, config=config, finetuner=None)


def make_plan(config: Config, given: Collection[str] = ()) -> Plan:
    """Check every option; a RequestError names the key, the value and the remedy. given: names of
    data sets that the caller holds in memory"""
    config = settle(config, given)
    device = device_of(config.device)
    return Plan(config, _recipe(config), _finetuner(config, device), device)


def plan_of(composed: DictConfig) -> Plan:
    """The plan of a composed configuration; its `hydra` node, if any, is ignored."""
    return make_plan(request_of(composed))


def _recipe(config: Config) -> Recipe | None:
    if is_none(config.prune):
        return None
    target = Target(config.calib.target.alpha, config.calib.target.beta)
    reconstructor = build("reconstruct", config.reconstruct)
    of_blocks = trains_blocks(reconstructor)
    recipe = Recipe(
        pattern=parse(config.pattern, config.sparsity),
        pruner=build("prune", config.prune),
        refiner=None if is_none(config.refine) else build("refine", config.refine),
        reconstructor=Keep() if of_blocks else reconstructor,
        block_reconstructor=reconstructor if of_blocks else None,
        allocator=build("allocate", config.allocate),
        target=target,
        relative_error=config.relative_error,
        min_tokens=config.calib.min_tokens,
        seed=config.seed,
    )
    for key, share in target._asdict().items():
        if share and not recipe.corrects:
            raise RequestError(
                f"calib.target.{key}={share}: no method of this run solves for a target; set it to "
                "0, or choose prune=sparsegpt, prune=alps, refine=swaps or reconstruct=cg"
            )
    return recipe


def _finetuner(config: Config, device: torch.device) -> Finetuner | None:
    if is_none(config.finetune):
        return None
    if (device.index or 0) > 0:
        raise RequestError(
            f"finetune={config.finetune['name']}: Trainer uses the first GPU, not device={device}; "
            f"set CUDA_VISIBLE_DEVICES={device.index} and choose device=cuda"
        )
    finetuner: Finetuner = build("finetune", config.finetune)
    return finetuner
