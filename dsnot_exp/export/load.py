"""Load a packed model."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from transformers import GenerationConfig

from dsnot_exp.models.loading import load_config, skeleton
from dsnot_exp.models.packed_files import (
    INDEX,
    PARTS,
    TWO_FOUR,
    Index,
    read_index,
    read_packed,
)
from dsnot_exp.models.semi_structured import semi_structured as convert
from dsnot_exp.models.semi_structured import unsupported, why_dense
from dsnot_exp.models.shards import Shards
from dsnot_exp.models.source import Source
from dsnot_exp.utils.errors import RequestError, RunError, first_line

VALUES = PARTS[TWO_FOUR][0]  # the end of the name of a weight's entries


def load_packed(
    folder: str | Path,
    *,
    revision: str | None = None,
    device: str | torch.device = "cpu",
    semi_structured: bool = False,
    trust_remote_code: bool = False,
) -> Any:
    """The model that `python -m dsnot_exp.export --format bitmask` (or `2:4`) has packed, as
    transformers loads it from the unpacked folder: the same tensors to the bit, in evaluation mode.

    Arguments:
        folder: of the packed model, or its id on the hub.
        revision: branch, tag or commit on the hub.
        device: of the model.
        semi_structured: convert the 2:4 weights to the form that torch multiplies by sparse tensor
            cores; for inference on a GPU that has them. Layers that torch cannot convert stay
            dense, and a warning names them.
        trust_remote_code: for models that come with their own code.

    Returns: the model of transformers, with dense tensors. It takes the memory of the dense model,
        and while it is loaded that of one file more.

    Raises: RequestError if the folder holds no packed model, or if torch cannot convert its weights
        on the device; RunError if a file of it is damaged.
    """
    place = _downloaded(str(folder), revision) if not Path(folder).is_dir() else Path(folder)
    if not (place / INDEX).is_file():
        raise RequestError(
            f"{folder}: no packed model, which has a {INDEX}; load a plain one with "
            "AutoModelForCausalLM.from_pretrained"
        )
    with _readable():
        index = read_index(place)
        if semi_structured:
            _refuse_dense(place, index, torch.device(device))
    source = Source(str(place), trust_remote_code=trust_remote_code)
    config = load_config(source)
    family = type(skeleton(source, config))
    with _readable():
        tensors = dict(read_packed(place, index))
    config.name_or_path = str(place)
    model, info = family.from_pretrained(
        None, config=config, state_dict=tensors, dtype="auto", output_loading_info=True
    )
    del tensors
    if info["missing_keys"] or info["mismatched_keys"]:
        raise RunError(f"{folder}: its tensors are not those of its config.json; export it again")
    if (place / "generation_config.json").is_file():
        model.generation_config = GenerationConfig.from_pretrained(place)
    model = model.eval().to(device)
    if semi_structured:
        for line in convert(model).left():
            warnings.warn(f"stays dense: {line}", UserWarning, stacklevel=2)
    return model


def _refuse_dense(folder: Path, index: Index, device: torch.device) -> None:
    """Raise, before a weight is read, if torch can convert none."""
    if why := unsupported(device):
        raise RequestError(f"semi_structured=True: {why}; leave it out to load the model dense")
    packed = {name: index.tensors[name] for name in index.names(TWO_FOUR)}
    if not packed:
        raise RequestError(
            f"semi_structured=True: {folder} is packed as {index.format}; export the run with "
            f"--format {TWO_FOUR}, or leave it out to load the model dense"
        )
    stored = Shards(folder / file for file in index.digests).entries
    reasons = {
        name: why_dense(stored[name + VALUES].dtype, found.shape, found.axis)
        for name, found in packed.items()
    }
    if all(reasons.values()):
        name, why = next(iter(reasons.items()))
        raise RequestError(
            f"semi_structured=True: no layer can be converted; {name}: {why}; leave it out to load "
            "the model dense"
        )


@contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RunError(str(error)) from error


def _downloaded(name: str, revision: str | None) -> Path:
    try:
        return Path(snapshot_download(name, revision=revision))
    except Exception as error:  # the type depends on what is wrong, and on the HTTP library
        raise RequestError(
            f"{name}: neither a folder nor a model that the hub has ({first_line(error)})"
        ) from error
