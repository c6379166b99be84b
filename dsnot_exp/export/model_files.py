"""The files of a saved model: the weights, and what belongs to them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from dsnot_exp.export.destination import MARK

CARD = "README.md"  # is written anew
WEIGHTS = (".safetensors", ".safetensors.index.json")


def weight_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


def bring(folder: Path, target: Path, weights: bool) -> None:
    """Bring the files of a saved model into `target`: configuration, tokenizer and code copied,
    since tools edit them in place; the weights, if wanted, linked where the disk is the same."""
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = file.relative_to(folder)
        if name.as_posix() in (CARD, MARK) or any(part.startswith(".") for part in name.parts):
            continue
        place = target / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if not file.name.endswith(WEIGHTS):
            shutil.copyfile(file, place)
        elif weights:
            _link(file, place)


def _link(file: Path, place: Path) -> None:
    try:
        os.link(file, place)
    except OSError:  # another disk, or one without hard links
        shutil.copyfile(file, place)
        with place.open("rb") as copied:
            os.fsync(copied.fileno())
