"""Builds the content of result.json from an outcome."""

from __future__ import annotations

import platform
import subprocess
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import torch

from dsnot_exp.results.file import SCHEMA
from dsnot_exp.results.outcome import Outcome
from dsnot_exp.results.privacy import private
from dsnot_exp.results.verdict import where_off, where_worse
from dsnot_exp.utils import accelerator
from dsnot_exp.utils.distributed import current
from dsnot_exp.utils.paths import PACKAGE


def assemble(outcome: Outcome, identity: str, command: str) -> dict[str, Any]:
    """Build the content of result.json. It is safe to share: no home paths or secrets.

    identity: the run's hash over everything that affects the result
    """
    config = outcome.config
    result = {
        "schema": SCHEMA,
        "status": "incomplete" if outcome.failed else "finished",
        "config": asdict(config),
        "config_hash": identity,
        "command": command,
        "model": {
            "name": config.model.name,
            "path": config.model.path,
            "revision": outcome.revision,
            **outcome.facts,
        },
        "sparsity": sparsity_summary(outcome),
        "masks_sha256": outcome.masks_sha256,
        "masks": outcome.masks,
        "metrics": {
            **outcome.metrics,
            "reconstruction": [record.reconstruction() for record in outcome.records],
            "max_cycles": [asdict(choice) for choice in outcome.choices],
            "block_reconstruction": [asdict(fit) for fit in outcome.fits],
        },
        "finetune": outcome.finetuned,
        "plugins": outcome.plugins,
        "data": outcome.data,
        "failed": outcome.failed,
        "reused": outcome.reused,
        "reused_stages": outcome.reused_stages,
        "measured_earlier": outcome.measured_earlier,
        "notes": outcome.notes,
        "warnings": [*outcome.warnings, *_off(outcome), *where_worse(outcome.metrics)],
        **outcome.account,
        "environment": environment(outcome.device) | outcome.computed,
    }
    shared: dict[str, Any] = private(result)
    return shared


def _off(outcome: Outcome) -> list[str]:
    weights = {record.layer: record.weights for record in outcome.records}
    allocator = outcome.config.allocate["name"]
    return where_off(outcome.config.sparsity, allocator, outcome.targets, weights)


def sparsity_summary(outcome: Outcome) -> dict[str, Any]:
    """Zeros / weights: target, achieved, per layer, and what each layer was given.
    `of_all_block_weights` divides by the entries of all matrices in the blocks, including dense
    ones."""
    total = outcome.block_weights
    counts = {r.layer: (r.zeros, r.weights) for r in outcome.records} or outcome.zeros
    zeros = sum(found for found, _ in counts.values())
    weights = sum(count for _, count in counts.values())
    return {
        "target": outcome.config.sparsity,
        "achieved": zeros / weights if weights else 0.0,
        "of_all_block_weights": zeros / total if total else 0.0,
        "layers": {layer: found / count for layer, (found, count) in counts.items()},
        "targets": outcome.targets,
    }


def environment(device: torch.device) -> dict[str, Any]:
    packages = ("transformers", "peft", "datasets", "lm_eval", "dsnot_exp")
    name = accelerator.name(device) if accelerator.is_accelerator(device) else platform.machine()
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        **{name: _version(name) for name in packages},
        "git": _git_commit(),
        "device": f"{device} ({name})",
        "threads": torch.get_num_threads(),
        "processes": current().size,
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except ImportError:
        return None


def _git_commit() -> str | None:
    """The code's git commit, with `-dirty` if files were changed; None outside a repository."""
    if not (PACKAGE.parent / ".git").exists():
        return None
    command = ["git", "-C", str(PACKAGE.parent), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
