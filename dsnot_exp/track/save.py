"""The sparse model as a Hugging Face folder that plain transformers loads."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from dsnot_exp.errors import RunError
from dsnot_exp.track.result import finished

NAME = "model"


def saved(folder: Path) -> bool:
    """Whether a run's folder holds a whole model: it gets its name when it is."""
    return (folder / NAME).is_dir()


def whole(folder: Path, config_hash: str, with_model: bool) -> dict[str, Any] | None:
    """The finished result of this configuration, if all that was asked for lies beside it."""
    result = finished(folder, config_hash)
    return result if result is not None and (saved(folder) or not with_model) else None


def save_model(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write beside its place in the run's `folder` and rename: an interrupted save leaves nothing
    that looks finished."""
    place = folder / NAME
    for left in folder.glob(f".{NAME}.*"):  # by a run that was killed while it saved
        shutil.rmtree(left, ignore_errors=True)
    temporary = Path(tempfile.mkdtemp(dir=folder, prefix=f".{NAME}."))
    try:
        model.save_pretrained(temporary, safe_serialization=True)
        if tokenizer is not None:
            tokenizer.save_pretrained(temporary)
        temporary.chmod(0o755)  # mkdtemp and safetensors keep others out
        for file in temporary.iterdir():
            file.chmod(0o644)
        if place.exists():
            shutil.rmtree(place)
        os.rename(temporary, place)
    except OSError as error:
        raise RunError(f"{place}: the sparse model could not be saved ({error})") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
