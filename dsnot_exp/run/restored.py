"""The sparse model of a run that has not saved it: its base model, with what it has kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from dsnot_exp.config import ModelConfig
from dsnot_exp.models.open import open_model
from dsnot_exp.models.source import locate
from dsnot_exp.run.fingerprint import model_fingerprint
from dsnot_exp.utils.errors import RunError
from dsnot_exp.walk.kept import KeptSparse, restore


def restored(options: ModelConfig, folder: Path) -> Any:
    """The model of transformers, in memory. Raises RunError if what is kept in `folder` does not
    give the sparse model."""
    try:
        kept = KeptSparse.read(folder)
        kept.check()
    except OSError as error:
        raise RunError(f"{folder}: the kept sparse model cannot be read ({error})") from error
    if not kept.restores:
        raise RunError(
            f"{folder}: a method moved the kept weights, and the masks alone are kept; repeat the "
            "run with save=true, or with keep=weights rerun=true"
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
