"""Checks each option on its own: bounds and choices."""

from __future__ import annotations

import torch

from dsnot_exp.config import STAGES, Config
from dsnot_exp.models.loading import DTYPES
from dsnot_exp.utils.distributed import current
from dsnot_exp.utils.errors import RequestError
from dsnot_exp.walk.hidden_states import PLACES

BASELINES = STAGES[:2]


def check_options(config: Config) -> None:
    """Check the options that belong to no method."""
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
            f"calib.samples={config.calib.samples}: {size} processes split the samples; choose "
            f"{size} or more"
        )
    for key in ("calib.seqlen", "eval.seqlen"):
        if positive[key] == 1:
            raise RequestError(
                f"{key}=1: a sequence needs two tokens to predict one; choose 2 or more"
            )
    check_choice("model.dtype", config.model.dtype, DTYPES)
    for key, wanted in (("model", config.model.streaming), ("eval", config.eval.streaming)):
        check_choice(f"{key}.streaming", wanted.lower(), ("auto", "true", "false"))
    check_choice("calib.states", config.calib.states, PLACES)
    check_choice("relative_error", config.relative_error.lower(), ("sample", "true", "false"))
    check_choice("resume", config.resume.lower(), ("true", "false", "never"))
    check_choice("wandb.mode", config.wandb.mode, ("offline", "online", "disabled"))
    for stage in config.eval.baselines:
        check_choice("eval.baselines", stage, BASELINES)


def check_choice(key: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise RequestError(f"{key}={value}: choose from {', '.join(choices)}")


def device_of(name: str) -> torch.device:
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
