"""Checks each option on its own: bounds and choices. Needs no torch."""

from __future__ import annotations

import re
from importlib.metadata import entry_points
from importlib.util import find_spec

from dsnot_exp.config import BASELINES, DTYPES, KEEPS, PLACES, TRACKERS, Config
from dsnot_exp.results.tracking.wandb_words import LONGEST_TAG
from dsnot_exp.utils.errors import RequestError
from dsnot_exp.utils.torchrun import world_size

SWITCH = ("auto", "true", "false")
DEVICES = ("cuda", "xpu", "mps")  # that torch itself knows
BROUGHT = "torch.backends"  # the entry points of packages that bring others to it


def check_options(config: Config) -> None:
    """Check the options that belong to no method."""
    positive = {
        "calib.samples": config.calib.samples,
        "calib.held_out": config.calib.held_out,
        "calib.seqlen": config.calib.seqlen,
        "calib.batch_size": config.calib.batch_size,
        "calib.min_tokens": config.calib.min_tokens,
        "eval.seqlen": config.eval.seqlen,
        "eval.blocks": config.eval.blocks,
        "eval.batch_size": config.eval.batch_size,
        "eval.limit": config.eval.limit,
    }
    for key, value in positive.items():
        if value is not None and value < 1:
            raise RequestError(f"{key}={value}: expected 1 or more")
    if (config.eval.num_fewshot or 0) < 0:
        raise RequestError(f"eval.num_fewshot={config.eval.num_fewshot}: expected 0 or more")
    if config.calib.samples < (size := world_size()):
        raise RequestError(
            f"calib.samples={config.calib.samples}: {size} processes split the samples; choose "
            f"{size} or more"
        )
    for key in ("calib.seqlen", "eval.seqlen"):
        if positive[key] == 1:
            raise RequestError(
                f"{key}=1: a sequence needs two tokens to predict one; choose 2 or more"
            )
    shares = {
        "calib.target.alpha": config.calib.target.alpha,
        "calib.target.beta": config.calib.target.beta,
    }
    for key, share in shares.items():
        if not 0 <= share <= 1:
            raise RequestError(f"{key}={share}: expected a number from 0 to 1")
    check_choice("model.dtype", config.model.dtype, DTYPES)
    for key, wanted in (("model", config.model.streaming), ("eval", config.eval.streaming)):
        check_choice(f"{key}.streaming", wanted.lower(), SWITCH)
    for key, wanted in (("calib", config.calib.bos), ("eval", config.eval.bos)):
        check_choice(f"{key}.bos", wanted.lower(), SWITCH)
    check_choice("calib.states", config.calib.states, PLACES)
    check_choice("keep", config.keep.lower(), KEEPS)
    check_choice("relative_error", config.relative_error.lower(), ("sample", "true", "false"))
    check_choice("resume", config.resume.lower(), ("true", "false", "never"))
    check_choice("wandb.mode", config.wandb.mode, ("offline", "online", "disabled"))
    _check_trackers(config)
    _check_device(config.device)
    for stage in config.eval.baselines:
        check_choice("eval.baselines", stage, BASELINES)


def _check_device(name: str) -> None:
    """Refuse what cannot be a device, without torch. Packages bring further kinds to it."""
    kinds = "|".join(DEVICES)
    known = re.fullmatch(rf"auto|cpu|({kinds})(:\d+)?", name)
    if known is None and not (re.fullmatch(r"\w+(:\d+)?", name) and entry_points(group=BROUGHT)):
        raise RequestError(f"device={name}: choose from auto, cpu, cuda, cuda:0, ...")


def _check_trackers(config: Config) -> None:
    for name in config.track:
        check_choice("track", name, TRACKERS)
    if config.wandb.mode == "online" and "wandb" not in config.track:
        raise RequestError(
            f"wandb.mode=online: track={','.join(config.track) or '[]'} leaves W&B out; add wandb "
            "to track, or remove wandb=online"
        )
    if "tensorboard" in config.track and find_spec("tensorboard") is None:
        raise RequestError(
            "track=tensorboard: not installed; run pip install 'dsnot_exp[tensorboard]'"
        )
    for tag in config.wandb.tags:
        if not 0 < len(tag) <= LONGEST_TAG:
            raise RequestError(
                f"wandb.tags={tag}: W&B takes 1 to {LONGEST_TAG} characters per tag; shorten it"
            )


def check_choice(key: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise RequestError(f"{key}={value}: choose from {', '.join(choices)}")
