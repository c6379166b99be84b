"""Load a packed model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from transformers import GenerationConfig

from dsnot_exp.models.loading import load_config, skeleton
from dsnot_exp.models.packed_files import INDEX, read_index, read_packed
from dsnot_exp.models.source import Source
from dsnot_exp.utils.errors import RequestError, RunError, first_line


def load_packed(
    folder: str | Path,
    *,
    revision: str | None = None,
    device: str | torch.device = "cpu",
    trust_remote_code: bool = False,
) -> Any:
    """The model that `python -m dsnot_exp.export --format bitmask` (or `2:4`) has packed, as
    transformers loads it from the unpacked folder: the same tensors to the bit, in evaluation mode.

    Arguments:
        folder: of the packed model, or its id on the hub.
        revision: branch, tag or commit on the hub.
        device: of the model.
        trust_remote_code: for models that come with their own code.

    Returns: the model of transformers, with dense tensors. It takes the memory of the dense model,
        and while it is loaded that of one file more.

    Raises: RequestError if the folder holds no packed model, RunError if a file of it is damaged.
    """
    place = _downloaded(str(folder), revision) if not Path(folder).is_dir() else Path(folder)
    if not (place / INDEX).is_file():
        raise RequestError(
            f"{folder}: no packed model, which has a {INDEX}; load a plain one with "
            "AutoModelForCausalLM.from_pretrained"
        )
    source = Source(str(place), trust_remote_code=trust_remote_code)
    config = load_config(source)
    family = type(skeleton(source, config))
    try:
        tensors = dict(read_packed(place, read_index(place)))
    except OSError as error:
        raise RunError(str(error)) from error
    config.name_or_path = str(place)
    model, info = family.from_pretrained(
        None, config=config, state_dict=tensors, dtype="auto", output_loading_info=True
    )
    if info["missing_keys"] or info["mismatched_keys"]:
        raise RunError(f"{folder}: its tensors are not those of its config.json; export it again")
    if (place / "generation_config.json").is_file():
        model.generation_config = GenerationConfig.from_pretrained(place)
    return model.eval().to(device)


def _downloaded(name: str, revision: str | None) -> Path:
    try:
        return Path(snapshot_download(name, revision=revision))
    except Exception as error:  # the type depends on what is wrong, and on the HTTP library
        raise RequestError(
            f"{name}: neither a folder nor a model that the hub has ({first_line(error)})"
        ) from error
