"""What a run is called at W&B, and what is sent of it."""

from __future__ import annotations

import hashlib
import os
from pathlib import PurePath
from typing import Any

from dsnot_exp.results.file import flatten
from dsnot_exp.results.method_names import applied, methods_of, pretty
from dsnot_exp.results.stages import method_name

# Send nothing about the machine, its user or the process; result.json has the relevant facts.
QUIET: dict[str, Any] = {
    "silent": True,
    "console": "off",
    "symlink": False,
    "disable_git": True,
    "disable_code": True,
    "save_code": False,
    "disable_job_creation": True,
    "label_disable": True,
    "x_disable_meta": True,
    "x_disable_machine_info": True,
    "x_disable_stats": True,
    "x_save_requirements": False,
    "host": "-",
    "username": "-",
    "email": "-",
    "program": "dsnot_exp",
    "x_executable": "-",
}
LONGEST_TAG = 64  # characters


def wandb_id(sweep: str, config_hash: str) -> str:
    """One id per run and sweep, so that a rerun continues the earlier W&B run."""
    return hashlib.sha256(f"{sweep} {config_hash}".encode()).hexdigest()[:16]


def agent() -> bool:
    """Whether a W&B agent has started this process: then the run's id is the agent's."""
    return "WANDB_SWEEP_ID" in os.environ


def tags(config: dict[str, Any]) -> list[str]:
    """The user's tags, the model, the methods that do something, and the pattern."""
    model = config["model"]
    path = PurePath(model["path"] or "").name if model["name"] in ("local", "hub") else ""
    pattern = [] if config["prune"]["name"] == "none" else [config["pattern"]]
    ours = [path or model["name"], *applied(methods_of(config)), *pattern]
    return list(dict.fromkeys([*config["wandb"]["tags"], *(tag[:LONGEST_TAG] for tag in ours)]))


def job_type(config: dict[str, Any]) -> str:
    """evaluate, prune, refine or finetune: the last thing that the run does to the model."""
    for group in ("finetune", "refine"):
        if config["prune"]["name"] != "none" and config[group]["name"] != "none":
            return group
    return "evaluate" if config["prune"]["name"] == "none" else "prune"


def summary(result: dict[str, Any]) -> dict[str, Any]:
    """What was done to the model, and the numbers and strings of a result by name, without those of
    single layers: {"a": {"b": 1}} -> {"a/b": 1}"""
    rest = {k: v for k, v in result.items() if k not in ("config", "notes")}
    if "sparsity" in rest:
        rest["sparsity"] = {
            k: v for k, v in rest["sparsity"].items() if k not in ("layers", "targets")
        }
    flat = flatten(rest, "/")
    told = {key: value for key, value in flat.items() if isinstance(value, int | float | str)}
    return {"method": pretty(method_name(result)), **told}
