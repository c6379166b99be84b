"""Writes the card of the model that a run has saved."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from dsnot_exp.config import ModelConfig
from dsnot_exp.models.licence import licence_in, licence_of
from dsnot_exp.models.source import Source, locate
from dsnot_exp.results.card.write import NAME, write_card
from dsnot_exp.results.file import MODEL, has_model
from dsnot_exp.utils.console import say
from dsnot_exp.utils.errors import DsnotError

log = logging.getLogger(__name__)


def write_model_card(folder: Path, result: dict[str, Any], source: Source) -> None:
    """After the result, whose metrics it shows. A full disk here costs the card alone."""
    try:
        write_card(folder / MODEL, result, licence_of(source))
    except OSError as error:
        say(f"warning   {folder / MODEL / NAME}: cannot be written ({error.strerror or error})")


def complete_card(folder: Path, result: dict[str, Any], model: ModelConfig) -> None:
    """Write the card if the run was killed right after its result."""
    if has_model(folder) and not (folder / MODEL / NAME).exists():
        write_model_card(folder, result, located(model) or Source(""))


def base_licence(folder: Path, result: dict[str, Any]) -> str | None:
    """The licence of a run's base model: as the card of the saved model states it, else from where
    the base model was loaded, if it is still there."""
    found = licence_in(folder / MODEL / NAME)
    if found is None:
        source = located(ModelConfig(**result["config"]["model"]))
        found = None if source is None else licence_of(source)
    return found


def located(model: ModelConfig) -> Source | None:
    try:
        return locate(model)
    except DsnotError as error:
        log.info("the base model is gone, and its licence with it: %s", error)
        return None
