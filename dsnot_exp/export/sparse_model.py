"""The sparse model of a run as a folder: the one it saved, or one made from what it has kept."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dsnot_exp.config import ModelConfig
from dsnot_exp.models.loading import load_tokenizer
from dsnot_exp.models.open import streams
from dsnot_exp.models.source import locate
from dsnot_exp.models.sparse_record import write_record
from dsnot_exp.results.card.facts import base_name
from dsnot_exp.results.file import MODEL, has_model
from dsnot_exp.results.method_names import methods_of
from dsnot_exp.run.restored import restorable, restored
from dsnot_exp.utils.errors import RequestError


@contextmanager
def sparse_model(run: Path, result: dict[str, Any], beside: Path) -> Iterator[Path]:
    """beside: the folder to write; on the same disk a model that was not saved is put together"""
    if has_model(run):
        yield run / MODEL
        return
    options, kept = ModelConfig(**result["config"]["model"]), restorable(run, result)
    source = locate(options)
    if streams(source, options):
        raise RequestError(
            f"{run}: its base model does not fit into memory; run its command again with "
            "save=true, which takes the masks from where they are kept"
        )
    with tempfile.TemporaryDirectory(dir=beside.parent, prefix=f"{beside.name}.model.") as place:
        folder = Path(place)
        model = restored(options, kept)
        model.save_pretrained(folder)
        load_tokenizer(source).save_pretrained(folder)
        write_record(folder, recipe_of(result))
        for file in folder.iterdir():
            file.chmod(0o644)  # safetensors denies access to other users
        yield folder


def recipe_of(result: dict[str, Any]) -> dict[str, Any]:
    """The record of a saved model (models/sparse_record.py), from the run's result."""
    config, model = result["config"], result["model"]
    revision = model.get("revision")
    return {
        **methods_of(config),
        "pattern": config["pattern"],
        "sparsity": result["sparsity"]["achieved"],
        "masks_sha256": result["masks_sha256"],
        "config_hash": result["config_hash"],
        "base": f"{base_name(result)}@{revision}" if revision else base_name(result),
        "base_sparse": model.get("sparse"),
        "version": result["environment"]["dsnot_exp"],
    }
