"""The sparse model as a Hugging Face folder that plain transformers loads."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from dsnot_exp.errors import RunError


def save_model(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write beside `folder` and rename: an interrupted save leaves nothing that looks finished."""
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        model.save_pretrained(temporary, safe_serialization=True)
        if tokenizer is not None:
            tokenizer.save_pretrained(temporary)
        if folder.exists():
            shutil.rmtree(folder)
        os.rename(temporary, folder)
    except OSError as error:
        raise RunError(f"{folder}: the sparse model could not be saved ({error})") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
