"""Writes the card of the model that a run has saved."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from dsnot_exp.config import ModelConfig
from dsnot_exp.models.licence import licence_of
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
    if not has_model(folder) or (folder / MODEL / NAME).exists():
        return
    try:
        source = locate(model)
    except DsnotError as error:
        log.warning("the base model is gone, and its licence with it: %s", error)
        source = Source("")
    write_model_card(folder, result, source)
