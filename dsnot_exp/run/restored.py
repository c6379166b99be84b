"""The sparse model of a run, loaded again: the one that it saved, or its base model with what it
has kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from dsnot_exp.config import ModelConfig
from dsnot_exp.models.open import open_model
from dsnot_exp.models.source import locate
from dsnot_exp.results.file import MODEL, kept_folder
from dsnot_exp.results.method_names import method_of
from dsnot_exp.run.content import model_fingerprint
from dsnot_exp.utils.errors import RequestError, RunError
from dsnot_exp.walk.kept import KeptSparse
from dsnot_exp.walk.restore import restore


def saved(run: Path) -> Any:
    """The model of transformers, in memory, that a run with save=true has saved."""
    return AutoModelForCausalLM.from_pretrained(run / MODEL, dtype="auto").eval()


def restorable(run: Path, result: dict[str, Any]) -> Path:
    """The folder of what makes the sparse model of a run. Raises if that is not enough."""
    config, place = result["config"], kept_folder(run, result)
    again = "run its command again with save=true"
    if method_of(config, "finetune") != "none":
        raise RequestError(f"{run}: its model was trained after pruning, and not saved; {again}")
    if place is None or not place.is_dir():
        raise RequestError(f"{run}: neither its model nor its masks are there; {again}")
    if not result["masks"]["restores"]:
        raise RequestError(
            f"{run}: a method moved the kept weights, and the masks alone are kept; {again}"
        )
    return place


def restored(options: ModelConfig, folder: Path) -> Any:
    """The model of transformers, in memory. Raises RunError if what is kept in `folder` does not
    give the sparse model. options: of the base model"""
    try:
        kept = KeptSparse.read(folder)
        kept.check()
    except OSError as error:
        raise RunError(f"{folder}: the kept sparse model cannot be read ({error})") from error
    if not kept.restores:
        raise RunError(
            f"{folder}: a method moved the kept weights, and the masks alone are kept; repeat the "
            "run with keep=weights rerun=true, or with save=true"
        )
    whole = replace(options, streaming="false")
    source = locate(whole)
    if model_fingerprint(source) != kept.key["model"]:
        raise RunError(
            f"model.path={source.place}: its weights are not those that the run pruned; take the "
            "same version of the model"
        )
    placed = open_model(source, whole, torch.device("cpu"))
    restore(placed, kept)
    return placed.model
