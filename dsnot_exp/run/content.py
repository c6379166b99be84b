"""Identifies the content that a result depends on: of a model, a data file, and the code."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from dsnot_exp.models.source import Source
from dsnot_exp.utils.paths import PACKAGE

WEIGHTS = (".safetensors", ".gguf", ".bin")


def model_fingerprint(source: Source) -> str:
    """The commit of a model on the hub, or a hash of a local folder's content."""
    if source.revision is not None:
        return f"{source.path}@{source.revision}"
    return str(fingerprint(Path(source.place)))


@cache
def code_fingerprint() -> str:
    """sha256 over this package's source and the versions of torch, transformers and lm-eval.

    Once per process: a file that changes later is not the code that the process has loaded. So all
    runs of a sweep in one process have the same.
    """
    digest = hashlib.sha256()
    for file in sorted([*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.c")]):
        digest.update(file.read_bytes())
    for package in ("torch", "transformers", "lm_eval"):
        digest.update(f"{package} {version(package)}".encode())
    return digest.hexdigest()


def fingerprint(path: Path) -> Any:
    """Hash of a data file, or of a model's JSON files and samples of its weights."""
    path = path.expanduser()
    if path.suffix == ".gguf" and path.is_file():
        return hashlib.sha256(_sampled(path)).hexdigest()
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    digest = hashlib.sha256()
    for part in _model_files(path):
        digest.update(part.name.encode())
        digest.update(_sampled(part) if part.suffix in WEIGHTS else part.read_bytes())
    return digest.hexdigest()


def _model_files(folder: Path) -> list[Path]:
    """The files that make a model. Pickles count where there are no safetensors files."""
    safe = [*folder.glob("*.safetensors")]
    others = [] if safe else [*folder.glob("pytorch_model*.bin"), *folder.glob("*.gguf")]
    return sorted([*folder.glob("*.json"), *safe, *others])


def _sampled(path: Path, pieces: int = 64, length: int = 4096) -> bytes:
    """A file's size and `pieces` evenly spaced pieces of it. Training changes weights everywhere,
    so samples detect it; reading all 26 GB of a 13B model would take minutes."""
    size = path.stat().st_size
    found = [str(size).encode()]
    with path.open("rb") as file:
        for piece in range(pieces):
            file.seek(piece * max(0, size - length) // (pieces - 1))
            found.append(file.read(length))
    return b"".join(found)
