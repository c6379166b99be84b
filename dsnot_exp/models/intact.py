"""Files that a download left broken: absent, empty, or a git-lfs pointer instead of the content."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dsnot_exp.utils.errors import RequestError

POINTER = b"version https://git-lfs.github.com/spec/"
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
# Read where there is no tokenizer.json.
VOCABULARIES = ("tokenizer.model", "vocab.json", "vocab.txt", "merges.txt", "spiece.model")


def refuse_broken(path: str, file: Path) -> None:
    """Raise if `file` of the model at `path` is not a file with content of its own."""
    if not file.is_file():
        raise RequestError(
            f"model.path={path}: {file.name} is missing; download it, or the whole model, again"
        )
    with file.open("rb") as opened:
        start = opened.read(len(POINTER))
    if not start:
        raise RequestError(f"model.path={path}: {file.name} is empty; download it again")
    if start == POINTER:
        raise RequestError(
            f"model.path={path}: {file.name} is a git-lfs pointer, not the file itself; run "
            "`git lfs pull` in the folder, or download the model with `hf download`"
        )


def tokenizer_files(folder: Path) -> list[Path]:
    """The files of a folder that transformers reads a tokenizer from."""
    whole = (folder / TOKENIZER[0]).exists()
    found = (folder / name for name in (*TOKENIZER, *(() if whole else VOCABULARIES)))
    return [file for file in found if file.exists()]


def read_json(path: str, file: Path) -> dict[str, Any]:
    """The content of a JSON file of the model at `path`."""
    refuse_broken(path, file)
    try:
        found = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise RequestError(
            f"model.path={path}: {file.name} cannot be read as JSON; download it again"
        ) from error
    if not isinstance(found, dict):
        raise RequestError(
            f"model.path={path}: {file.name} holds no JSON object; download it again"
        )
    return found
