"""Which options of a run differ from the defaults: the choices of methods from those of a plain
command with the same model, every other option from the default of what was chosen."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dsnot_exp.config import register_schema
from dsnot_exp.launch.hydra_setup import register
from dsnot_exp.report.runs import Run
from dsnot_exp.results.file import flatten
from dsnot_exp.run.composed import request_of
from dsnot_exp.run.settle import settle
from dsnot_exp.utils.errors import DsnotError, first_line
from dsnot_exp.utils.paths import beside_or_inside

CHOICES = ("prune", "refine", "allocate", "reconstruct", "finetune", "eval", "wandb")
# A run fills in these where they are null: they count only if they were typed.
FILLED_IN = {"sparsity", "calib.seqlen", "eval.seqlen", "calib.held_out", "finetune.seqlen"}
ELSEWHERE = {"out", "sweep", "method", "model.name"}  # in the folder's name, or in another line


def differing(run: Run) -> tuple[dict[str, tuple[Any, Any]], str]:
    """Options that differ: key -> (value, default), and an empty text. If the defaults cannot be
    composed, because a plug-in is missing here: the options that were typed, and the reason."""
    typed, given = typed_options(run), flatten(run.result["config"])
    model = run.options.get("model.name")
    # W&B's mode is the name of its choice.
    names = {group: given.get(f"{group}.name") for group in CHOICES}
    names["wandb"] = given.get("wandb.mode")
    words = [f"{group}={name}" for group, name in names.items() if name]
    try:
        plain = _defaults([f"model={model}"])
        chosen = _defaults([f"model={model}", *words])
    except (DsnotError, HydraException, OmegaConfBaseException) as error:
        found = {key: (given.get(key), None) for key in typed if key in given}
        return found, first_line(error.__cause__ or error)
    found = {}
    for group in CHOICES:
        key = f"{group}.name" if group != "wandb" else "wandb.mode"
        if key in given and given[key] != plain.get(key):
            found[group] = (given[key], plain.get(key))
    for key, value in given.items():
        if key in ELSEWHERE or key.endswith(".name") or key == "wandb.mode":
            continue
        default = chosen.get(key)
        filled = key in FILLED_IN and default is None and key not in typed
        if value != default and not filled:
            found[key] = (value, default)
    return found, ""


def typed_options(run: Run) -> set[str]:
    """The keys of the run's command."""
    try:
        words = shlex.split(str(run.result.get("command") or ""))
    except ValueError:
        return set()
    return {word.partition("=")[0].lstrip("+") for word in words if "=" in word}


def _defaults(words: list[str]) -> dict[str, Any]:
    """The options of a command, by dotted names."""
    register_schema()
    register()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(beside_or_inside("conf")), version_base="1.3"):
        composed = compose("config", words)
    try:
        return flatten(asdict(settle(request_of(composed))))
    except DsnotError:  # model=local without its path, or a method that needs more options
        return flatten(OmegaConf.to_container(composed, resolve=False))
