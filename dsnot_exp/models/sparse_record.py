"""What a saved model tells about itself: the methods that made it sparse, in a small JSON file
beside its weights."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from transformers.utils.hub import cached_file

from dsnot_exp.models.files import QUIET
from dsnot_exp.models.source import Source
from dsnot_exp.utils.files import write_atomically

log = logging.getLogger(__name__)
NAME = "dsnot_exp.json"
SCHEMA = 1


def write_record(folder: Path, record: dict[str, Any]) -> None:
    content = json.dumps({"schema": SCHEMA, **record}, indent=1) + "\n"
    write_atomically(folder / NAME, content.encode())


def read_record(source: Source) -> dict[str, Any] | None:
    """The record of a model that this package saved; None for another model."""
    if source.gguf is not None:
        return None
    where = {"revision": source.revision, "local_files_only": source.local_files_only}
    try:
        found = cached_file(source.path, NAME, **where, **QUIET)
        record = None if found is None else json.loads(Path(found).read_text("utf-8"))
    except (OSError, ValueError) as error:
        log.warning("%s of %s cannot be read: %r", NAME, source.path, error)
        return None
    if not isinstance(record, dict) or record.pop("schema", None) != SCHEMA:
        return None
    return record if isinstance(record.get("sparsity"), int | float) else None
