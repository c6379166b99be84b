"""Checks a configuration and builds its methods. Every error that can be detected before a model or
a data set is loaded is raised here."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch

from dsnot_exp.config import Config
from dsnot_exp.data.corpora import refuse_unknown
from dsnot_exp.methods import registry
from dsnot_exp.methods.patterns import parse
from dsnot_exp.methods.protocols import Finetuner
from dsnot_exp.run.build_method import build
from dsnot_exp.run.check_options import check_options, device_of
from dsnot_exp.utils.distributed import Ranks, current
from dsnot_exp.utils.errors import RequestError
from dsnot_exp.walk.recipe import Recipe


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
        return self.recipe is not None and bool(self.recipe.needs)


def make_plan(config: Config) -> Plan:
    """Check every option; a RequestError names the key, the value and the remedy."""
    check_options(config)
    device, recipe = device_of(config.device), _recipe(config)
    for name in config.eval.perplexity:
        refuse_unknown("eval.perplexity", name)
    if recipe is not None:
        refuse_unknown("calib.dataset", config.calib.dataset)
    return Plan(
        config=replace(
            config,
            sparsity=0.0 if recipe is None else recipe.pattern.sparsity,
            # an unquoted `true` in YAML arrives as "True"
            model=replace(config.model, streaming=config.model.streaming.lower()),
            eval=replace(config.eval, streaming=config.eval.streaming.lower()),
            relative_error=config.relative_error.lower(),
            resume=config.resume.lower(),
        ),
        recipe=recipe,
        finetuner=_finetuner(config, device),
        device=device,
    )


def _recipe(config: Config) -> Recipe | None:
    # Build them even if the run does not use them, so that a misspelt option always raises.
    pattern = parse(config.pattern, config.sparsity)
    refiner = None if is_none(config.refine) else build("refine", config.refine)
    allocator = build("allocate", config.allocate)
    reconstructor = build("reconstruct", config.reconstruct)
    if is_none(config.prune):
        return None
    return Recipe(
        pattern=pattern,
        pruner=build("prune", config.prune),
        refiner=refiner,
        reconstructor=reconstructor,
        allocator=allocator,
        relative_error=config.relative_error.lower(),
        min_tokens=config.calib.min_tokens,
        seed=config.seed,
    )


def is_none(options: dict[str, object]) -> bool:
    return options["name"] == registry.NONE


def _finetuner(config: Config, device: torch.device) -> Finetuner | None:
    if is_none(config.finetune):
        return None
    name = config.finetune["name"]
    finetuner: Finetuner = build("finetune", config.finetune)
    if is_none(config.prune):
        raise RequestError(
            f"finetune={name}: with prune=none there is no sparse model to train; choose a "
            "pruner, or finetune=none"
        )
    if (device.index or 0) > 0:
        raise RequestError(
            f"finetune={name}: Trainer uses the first GPU, not device={device}; set "
            f"CUDA_VISIBLE_DEVICES={device.index} and choose device=cuda"
        )
    if current().size > 1:
        raise RequestError(
            f"finetune={name}: training uses one process; start it without torchrun, or choose "
            "finetune=none"
        )
    refuse_unknown("finetune.dataset", finetuner.dataset)
    return finetuner
