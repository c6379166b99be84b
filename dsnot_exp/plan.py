"""A configuration, checked and turned into methods: everything that can be refused before a
model or a data set is loaded is refused here."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch

from dsnot_exp.allocate import ALLOCATORS
from dsnot_exp.allocate.uniform import Uniform
from dsnot_exp.config import Config, build
from dsnot_exp.data.corpora import refuse_unknown
from dsnot_exp.errors import RequestError
from dsnot_exp.finetune import FINETUNERS, Lora
from dsnot_exp.models.loading import DTYPES
from dsnot_exp.patterns import Pattern, parse
from dsnot_exp.prune import PRUNERS, Pruner
from dsnot_exp.ranks import Ranks, current
from dsnot_exp.reconstruct import RECONSTRUCTORS, Keep
from dsnot_exp.refine import REFINERS, Refiner
from dsnot_exp.states import PLACES

STAGES = ("dense", "pruned", "refined")


@dataclass(frozen=True)
class Plan:
    """What a run does. `pruner`, `refiner` and `finetuner` are None where there is nothing
    to do.

    config: the configuration with `sparsity` settled
    """

    config: Config
    pattern: Pattern
    allocator: Uniform
    pruner: Pruner | None
    refiner: Refiner | None
    reconstructor: Keep
    finetuner: Lora | None
    device: torch.device
    ranks: Ranks = field(default_factory=current)

    @property
    def needs_calibration(self) -> bool:
        methods = (self.pruner, self.refiner, self.reconstructor)
        return any(method.needs for method in methods if method is not None)


def make_plan(config: Config) -> Plan:
    """Check every option; raises RequestError with the key, the value and the remedy."""
    _check_numbers(config)
    pattern, device = parse(config.pattern, config.sparsity), _device(config.device)
    prunes = config.prune["name"] != "none"
    refines = prunes and config.refine["name"] != "none"
    # Built even where it has nothing to do, so that a misspelt option is refused all the same.
    pruner = build("prune", PRUNERS, config.prune) if prunes else None
    refiner = build("refine", REFINERS, config.refine) if config.refine["name"] != "none" else None
    for name in config.eval.perplexity:
        refuse_unknown("eval.perplexity", name)
    if prunes:
        refuse_unknown("calib.dataset", config.calib.dataset)
    return Plan(
        config=replace(
            config,
            sparsity=pattern.sparsity if prunes else 0.0,
            # YAML: True
            model=replace(config.model, streaming=config.model.streaming.lower()),
            eval=replace(config.eval, streaming=config.eval.streaming.lower()),
            relative_error=config.relative_error.lower(),
            resume=config.resume.lower(),
        ),
        pattern=pattern,
        allocator=build("allocate", ALLOCATORS, config.allocate),
        pruner=pruner,
        refiner=refiner if refines else None,
        reconstructor=build("reconstruct", RECONSTRUCTORS, config.reconstruct),
        finetuner=_finetuner(config, prunes, device),
        device=device,
    )


def _finetuner(config: Config, prunes: bool, device: torch.device) -> Lora | None:
    name = config.finetune["name"]
    if name == "none":
        return None
    finetuner = build("finetune", FINETUNERS, config.finetune)
    if not prunes:
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


def _check_numbers(config: Config) -> None:
    positive = {
        "calib.samples": config.calib.samples,
        "calib.seqlen": config.calib.seqlen,
        "calib.batch_size": config.calib.batch_size,
        "calib.min_tokens": config.calib.min_tokens,
        "eval.seqlen": config.eval.seqlen,
        "eval.batch_size": config.eval.batch_size,
        "eval.limit": config.eval.limit,
    }
    for key, value in positive.items():
        if value is not None and value < 1:
            raise RequestError(f"{key}={value}: expected 1 or more")
    if (config.eval.num_fewshot or 0) < 0:
        raise RequestError(f"eval.num_fewshot={config.eval.num_fewshot}: expected 0 or more")
    if config.calib.samples < (size := current().size):
        raise RequestError(
            f"calib.samples={config.calib.samples}: {size} processes share them; at least {size}"
        )
    for key in ("calib.seqlen", "eval.seqlen"):
        if positive[key] == 1:
            raise RequestError(f"{key}=1: a sequence needs two tokens to predict one")
    _check_choice("model.dtype", config.model.dtype, DTYPES)
    for key, wanted in (("model", config.model.streaming), ("eval", config.eval.streaming)):
        _check_choice(f"{key}.streaming", wanted.lower(), ("auto", "true", "false"))
    _check_choice("calib.states", config.calib.states, PLACES)
    _check_choice("relative_error", config.relative_error.lower(), ("sample", "true", "false"))
    _check_choice("resume", config.resume.lower(), ("true", "false", "never"))
    _check_choice("wandb.mode", config.wandb.mode, ("offline", "online", "disabled"))
    for stage in config.eval.baselines:
        _check_choice("eval.baselines", stage, STAGES[:2])


def _check_choice(key: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise RequestError(f"{key}={value}: choose from {', '.join(choices)}")


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise RequestError(f"device={name}: choose from auto, cpu, cuda, cuda:0, ...")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise RequestError(
            f"device={name}: this machine has {torch.cuda.device_count()} CUDA devices that torch "
            f"{torch.__version__} can use; choose device=cpu or auto"
        )
    return device
