"""The safetensors files of a located model, checked before they are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from zipfile import is_zipfile

from transformers.utils import (
    SAFE_WEIGHTS_INDEX_NAME,
    SAFE_WEIGHTS_NAME,
    WEIGHTS_INDEX_NAME,
    WEIGHTS_NAME,
)
from transformers.utils.hub import cached_file, get_checkpoint_shard_files

from dsnot_exp.models.intact import read_json, refuse_broken
from dsnot_exp.models.shards import Shards
from dsnot_exp.models.source import Source
from dsnot_exp.utils.errors import RequestError, RunError, first_line

QUIET = {
    "_raise_exceptions_for_missing_entries": False,
    "_raise_exceptions_for_connection_errors": False,
}


def shard_files(source: Source) -> list[Path] | None:
    """The model's safetensors files, downloaded if needed, in the order in which transformers
    looks for them; None if it has none."""
    where = {"revision": source.revision, "local_files_only": source.local_files_only}
    return None if source.gguf is not None else _files(source, where)


def files_here(source: Source) -> list[Path] | None:
    """The model's safetensors files; None if it has none, or if they must be downloaded first."""
    where = {"revision": source.revision, "local_files_only": True}
    if source.gguf is not None:
        return None
    try:
        return _files(source, where)
    except RunError:  # part of them is in the cache
        return None


def read_headers(source: Source, files: list[Path]) -> Shards:
    """The tensors of the files, by name. Raises if a file is broken."""
    for file in files:
        refuse_broken(source.path, file)
    try:
        return Shards(files)
    except OSError as error:
        line = str(error).replace(f"{files[0].parent}/", "")
        raise RequestError(f"model.path={source.path}: {line}") from error


def refuse_without_index(source: Source) -> None:
    """Raise if a local model's shards are there and the list of them is not."""
    if source.revision is None and source.gguf is None:
        raise RequestError(
            f"model.path={source.path}: neither {SAFE_WEIGHTS_NAME} nor {SAFE_WEIGHTS_INDEX_NAME} "
            "is in the folder; download the one that the model has"
        )


def refuse_broken_pickles(source: Source) -> None:
    """Raise if a pickle file of a local model is missing or broken."""
    folder, path = Path(source.path), source.path
    if source.revision is not None or source.gguf is not None:
        return
    names = [WEIGHTS_NAME]
    if not (folder / WEIGHTS_NAME).exists() and (folder / WEIGHTS_INDEX_NAME).exists():
        names = _shards_of(path, folder / WEIGHTS_INDEX_NAME)
    for file in (folder / name for name in names):
        refuse_broken(path, file)
        with file.open("rb") as opened:
            zipped = opened.read(2) == b"PK"
        if zipped and not is_zipfile(file):
            raise RequestError(f"model.path={path}: {file.name} is truncated; download it again")


def _files(source: Source, where: dict[str, Any]) -> list[Path] | None:
    try:
        single = cached_file(source.path, SAFE_WEIGHTS_NAME, **where, **QUIET)
        if single is not None:
            return [Path(single)]
        index = cached_file(source.path, SAFE_WEIGHTS_INDEX_NAME, **where, **QUIET)
        if index is None:
            return None
        shards = _shards_of(source.path, Path(index))
        for name in shards if source.revision is None else ():
            refuse_broken(source.path, Path(index).parent / name)
        files, _ = get_checkpoint_shard_files(source.path, index, **where)
    except (OSError, ValueError) as error:
        raise RunError(
            f"model.path={source.path}: cannot read its checkpoint ({first_line(error)})"
        ) from error
    return sorted({Path(file) for file in files})


def _shards_of(path: str, index: Path) -> list[str]:
    """The names of the files that an index lists."""
    shards = read_json(path, index).get("weight_map")
    if not isinstance(shards, dict) or not shards:
        raise RequestError(f"model.path={path}: {index.name} has no weight_map; download it again")
    return sorted({*map(str, shards.values())})
