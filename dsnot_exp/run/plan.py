"""A configuration, checked and turned into methods. Everything that can be refused before a model
or a data set is loaded is refused here."""

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
    """What a run does.

    config: the configuration with `sparsity` resolved
    recipe: how layers are made sparse; None with prune=none
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
    """Check every option; raises RequestError with the key, the value and the remedy."""
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
            # YAML reads `true` as True
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
    # Built even if the run does not use them, so that a misspelt option is always refused.
    pattern = parse(config.pattern, config.sparsity)
    refiner = None if is_none(config.refine) else build("refine", config.refine)
    allocator = build("allocate", config.allocate)
    reconstructor = build("reconstruct", config.reconstruct)
    if is_none(config.prune):
        return None
    return Recipe(
        pattern,
        build("prune", config.prune),
        refiner,
        reconstructor,
        allocator,
        config.relative_error.lower(),
        config.calib.min_tokens,
        config.seed,
        tuple(config.model.dense),
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
            "prune, or finetune=none"
        )
    if (device.index or 0) > 0:
        raise RequestError(
            f"finetune={name}: Trainer works on the first GPU, not on device={device}; choose "
            f"device=cuda with CUDA_VISIBLE_DEVICES={device.index}"
        )
    if current().size > 1:
        raise RequestError(
            f"finetune={name}: trains in one process; start it without torchrun, or choose "
            "finetune=none"
        )
    refuse_unknown("finetune.dataset", finetuner.dataset)
    return finetuner
