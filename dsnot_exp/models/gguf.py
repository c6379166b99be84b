"""Models in one .gguf file, which transformers reads and dequantises."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from dsnot_exp.models.intact import refuse_broken
from dsnot_exp.utils.errors import RequestError, first_line

SUFFIX = ".gguf"
MAGIC = b"GGUF"
PROJECTOR = "mmproj"  # starts the name of the file with a model's vision part
PART = re.compile(r"-\d{5}-of-\d{5}\.gguf$")


def only_gguf(path: str, folder: Path) -> Path | None:
    """The .gguf file of a folder; None if it has none."""
    found = sorted(
        file for file in folder.glob(f"*{SUFFIX}") if not file.name.startswith(PROJECTOR)
    )
    if len(found) > 1 and not all(PART.search(file.name) for file in found):
        names = ", ".join(file.name for file in found)
        raise RequestError(
            f"model.path={path}: holds several .gguf files ({names}); choose one: "
            f"model.path={folder / found[0].name}"
        )
    return found[0] if found else None


def refuse_broken_gguf(path: str, file: Path) -> None:
    """Raise if `file` is no complete model in GGUF."""
    refuse_broken(path, file)
    if PART.search(file.name):
        raise RequestError(
            f"model.path={path}: {file.name} is one part of a split model; join the parts with "
            "`llama-gguf-split --merge` and give the joined file"
        )
    with file.open("rb") as opened:
        if opened.read(len(MAGIC)) != MAGIC:
            raise RequestError(
                f"model.path={path}: {file.name} is not a GGUF file; download it again"
            )


def dequantised() -> dict[str, Any]:
    """The option of `from_pretrained` that unpacks the weights. Otherwise some versions leave them
    packed, in layers that are no linear layers."""
    try:
        from transformers.utils.quantization_config import GgufConfig
    except ImportError:  # before transformers could leave them packed
        return {}
    return {"quantization_config": GgufConfig(dequantize=True)}


def forget_quantisation(model: Any) -> None:
    """Remove what marks a dequantised model as quantised: transformers would not save it."""
    model.is_quantized = False
    model.hf_quantizer = None
    for config in (model.config, model.config.get_text_config()):
        if hasattr(config, "quantization_config"):
            del config.quantization_config
    for left in ("quantization_method", "is_loaded_in_4bit", "is_loaded_in_8bit"):
        model.__dict__.pop(left, None)


def refuse_unreadable(path: str, error: Exception) -> None:
    """Raise for an error of reading the configuration or the tokenizer of a .gguf file."""
    line = first_line(error)
    if isinstance(error, ImportError):
        remedy = "install the package with `pip install gguf`, or convert the model to .safetensors"
    elif "not supported" in line:
        remedy = "give the model's .safetensors files"
    else:
        remedy = "it may be truncated: download it again"
    raise RequestError(
        f"model.path={path}: this .gguf file cannot be read ({line}); {remedy}"
    ) from error
