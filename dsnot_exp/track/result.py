"""result.json: the contract with everything that reads results. Written once, atomically."""

from __future__ import annotations

import json
import platform
import subprocess
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from dsnot_exp.files import write_atomically
from dsnot_exp.measure import LayerRecord
from dsnot_exp.paths import PACKAGE
from dsnot_exp.plan import Plan
from dsnot_exp.ranks import current
from dsnot_exp.track.privacy import private

if TYPE_CHECKING:
    from dsnot_exp.experiment import Experiment

SCHEMA = 1
NAME = "result.json"


def write_result(folder: Path, result: dict[str, Any]) -> Path:
    path = folder / NAME
    write_atomically(path, (json.dumps(result, indent=1, allow_nan=False) + "\n").encode())
    return path


def written(folder: Path) -> float | None:
    """When the result was written, if there is one."""
    path = folder / NAME
    return path.stat().st_mtime if path.exists() else None


def finished(folder: Path, config_hash: str) -> dict[str, Any] | None:
    """The result that `folder` already holds for this configuration, if it is whole."""
    try:
        result = json.loads((folder / NAME).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    expected = {"config_hash": config_hash, "schema": SCHEMA, "status": "finished"}
    whole = isinstance(result, dict) and all(result.get(k) == v for k, v in expected.items())
    return result if whole else None


def sparsity_summary(plan: Plan, records: list[LayerRecord], block_weights: int) -> dict[str, Any]:
    """`of_all_block_weights` counts every matrix in the blocks, those left dense included."""
    zeros, weights = sum(r.zeros for r in records), sum(r.weights for r in records)
    return {
        "target": plan.config.sparsity,
        "achieved": zeros / weights if weights else 0.0,
        "of_all_block_weights": zeros / block_weights if block_weights else 0.0,
        "layers": {r.layer: r.zeros / r.weights for r in records},
    }


def environment(device: torch.device) -> dict[str, Any]:
    packages = ("transformers", "peft", "datasets", "lm_eval", "dsnot_exp")
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        **{name: _version(name) for name in packages},
        "git": _git_commit(),
        "device": f"{device} ({name})",
        "threads": torch.get_num_threads(),
        "processes": current().size,
    }


def assemble(experiment: Experiment, identity: str, command: str) -> dict[str, Any]:
    """The whole of result.json, without home paths and secrets: it is made to be shared."""
    plan, facts, records = experiment.plan, dict(experiment.facts), experiment.records
    block_weights = facts.pop("block_weights")
    source, inputs, suite = experiment.inputs.source, experiment.inputs, experiment.suite
    whole = {
        "schema": SCHEMA,
        "status": "incomplete" if suite.failed else "finished",
        "config": settled(plan),
        "config_hash": identity,
        "command": command,
        "model": {
            "name": plan.config.model.name,
            "path": plan.config.model.path,
            "revision": source.revision,
            **facts,
        },
        "sparsity": sparsity_summary(plan, records, block_weights),
        "masks_sha256": experiment.solver.masks_sha256 if experiment.solver else None,
        "metrics": {
            **suite.metrics,
            "reconstruction": [r.reconstruction() for r in records],
        },
        "finetune": experiment.finetuned,
        "data": {
            "calibration": inputs.calibration.record() if inputs.calibration else None,
            "finetune": inputs.finetuning.record() if inputs.finetuning else None,
            "evaluation": {name: text.record() for name, text in inputs.evaluation.items()},
        },
        "failed": suite.failed,  # tasks, and why
        "reused": suite.reused,  # measured of the dense model by an earlier run
        "notes": experiment.solver.notes if experiment.solver else {},  # by layer
        **experiment.clock.account(),
        "environment": environment(plan.device),
    }
    shared: dict[str, Any] = private(whole)
    return shared


def flatten(tree: Any, separator: str = ".", prefix: str = "") -> dict[str, Any]:
    """{"calib": {"samples": 8}} -> {"calib.samples": 8}"""
    if not isinstance(tree, dict):
        return {prefix: tree}
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= flatten(value, separator, f"{prefix}{separator}{key}" if prefix else key)
    return flat


def settled(plan: Plan) -> dict[str, Any]:
    """The resolved configuration as plain data."""
    return asdict(plan.config)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except ImportError:
        return None


def _git_commit() -> str | None:
    """The commit of the code that ran, `-dirty` if it was changed; None outside a repository."""
    if not (PACKAGE.parent / ".git").exists():
        return None
    command = ["git", "-C", str(PACKAGE.parent), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
