"""The machine that the figures are of: its card, its processor and the versions of what runs."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import subprocess
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil
import torch

from dsnot_exp.utils import accelerator

ROOT = Path(__file__).parents[3]
SHOWN = ("torch", "transformers", "triton", "safetensors")


def machine(device: torch.device) -> dict[str, Any]:
    """What makes figures comparable; `record` refuses to mix them with those of another machine."""
    memory = accelerator.total_memory(device)
    return {
        "device": accelerator.name(device),
        "kind": device.type,
        "device_bytes": memory if accelerator.is_accelerator(device) else None,
        "driver": _driver(device),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "system": f"{platform.system()} {platform.machine()}",
    }


def versions() -> dict[str, str | None]:
    found = {"python": platform.python_version(), **{name: _version(name) for name in SHOWN}}
    return {**found, "cuda": torch.version.cuda, "hip": torch.version.hip}


def missing() -> list[str]:
    """Packages that pyproject.toml requires, and Triton, where they are not installed."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    names = [re.split(r"[\[<>=!~ ]", line)[0] for line in declared]
    return [name for name in (*names, "triton") if _version(name) is None]


def code() -> str:
    """Of what is measured and how: the package and the benchmarks."""
    digest = hashlib.sha256()
    for folder in ("dsnot_exp", "tests/benchmarks"):
        for file in sorted([*(ROOT / folder).rglob("*.py"), *(ROOT / folder).rglob("*.c")]):
            digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def used_by_others(device: torch.device) -> int:
    """Bytes of the card that are taken before this process has put anything there."""
    return accelerator.total_memory(device) - accelerator.free_memory(device)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _driver(device: torch.device) -> str | None:
    """Of an NVIDIA card; None where nvidia-smi is missing or fails."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    if device.type != "cuda" or torch.version.hip:
        return None
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return next(iter(done.stdout.split()), None)


def _processor() -> str:
    """Its model where Linux tells it."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor()
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1] if found else platform.processor()
