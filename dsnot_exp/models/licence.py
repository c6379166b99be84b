"""The licence of a model, as the README.md beside its weights states it for the hub."""

from __future__ import annotations

import logging
from pathlib import Path

import yaml
from huggingface_hub import metadata_load
from transformers.utils.hub import cached_file

from dsnot_exp import tinyworld
from dsnot_exp.models.files import QUIET
from dsnot_exp.models.source import Source

log = logging.getLogger(__name__)
CARD = "README.md"
OURS = "apache-2.0"


def licence_of(source: Source) -> str | None:
    """The hub's name of the licence, such as `apache-2.0`; None if it is not known. A model on the
    hub may be asked for its README.md; without network that is not known either."""
    if source.path == str(tinyworld.MODEL):
        return OURS
    where = {"revision": source.revision, "local_files_only": source.local_files_only}
    try:
        found = cached_file(source.path, CARD, **where, **QUIET)
    except (OSError, ValueError) as error:
        log.info("%s of %s cannot be read: %r", CARD, source.path, error)
        return None
    return None if found is None else licence_in(Path(found))


def licence_in(card: Path) -> str | None:
    try:
        licence = (metadata_load(card) or {}).get("license")
    except (OSError, ValueError, yaml.YAMLError) as error:
        log.info("%s cannot be read: %r", card, error)
        return None
    return licence if isinstance(licence, str) else None
