"""How a saved model became sparse: one key of its config.json, which transformers keeps without
reading it."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from transformers.utils.hub import cached_file

from dsnot_exp.models.files import QUIET
from dsnot_exp.models.source import CONFIG, Source
from dsnot_exp.utils.files import write_atomically

log = logging.getLogger(__name__)
KEY = "dsnot_exp"
SCHEMA = 1


def write_record(folder: Path, record: dict[str, Any] | None) -> None:
    """Put the record into the config.json of a saved model. None: the model is dense, so that a
    record which came with it is removed."""
    path = folder / CONFIG
    config = json.loads(path.read_text("utf-8"))
    config.pop(KEY, None)
    if record is not None:
        config[KEY] = {"schema": SCHEMA, **record}
    write_atomically(path, (json.dumps(config, indent=2) + "\n").encode())


def read_record(source: Source) -> dict[str, Any] | None:
    """The record of a model that this package saved; None for another model."""
    if source.gguf is not None:
        return None
    where = {"revision": source.revision, "local_files_only": source.local_files_only}
    try:
        found = cached_file(source.path, CONFIG, **where, **QUIET)
        config = {} if found is None else json.loads(Path(found).read_text("utf-8"))
    except (OSError, ValueError) as error:
        log.warning("%s of %s cannot be read: %r", CONFIG, source.path, error)
        return None
    record = config.get(KEY) if isinstance(config, dict) else None
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        return None
    known = isinstance(record.get("sparsity"), int | float)
    return {key: value for key, value in record.items() if key != "schema"} if known else None
