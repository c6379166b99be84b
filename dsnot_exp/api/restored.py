"""The sparse model of a run, loaded again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from dsnot_exp.api.arguments import named_arguments
from dsnot_exp.api.undisturbed import quiet
from dsnot_exp.config import ModelConfig
from dsnot_exp.models.open import open_model
from dsnot_exp.models.source import locate
from dsnot_exp.run.fingerprint import model_fingerprint
from dsnot_exp.utils.errors import RunError
from dsnot_exp.walk.kept import KeptSparse, restore


def saved(folder: Path) -> Any:
    with quiet(True):
        return AutoModelForCausalLM.from_pretrained(folder, dtype="auto").eval()


def restored(options: dict[str, Any], folder: Path) -> Any:
    """The base model with the masks and weights that are kept in `folder`. Raises RunError if they
    do not give the run's model.

    options: `config.model` of result.json
    """
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
    with named_arguments(), quiet(True):
        source = locate(ModelConfig(**{**options, "streaming": "false"}))
        if model_fingerprint(source) != kept.key["model"]:
            raise RunError(
                f"model={source.place}: its weights are not those that the run pruned; take the "
                "same version of the model"
            )
        placed = open_model(source, ModelConfig(**options | {"streaming": "false"}), CPU)
        restore(placed, kept)
    return placed.model


CPU = torch.device("cpu")
