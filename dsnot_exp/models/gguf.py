"""Models in one .gguf file, which transformers reads and dequantises."""

from __future__ import annotations

import re
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

from dsnot_exp.models.gguf_header import Cut, tensor_kinds
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
    refuse_packed(path, file)


def refuse_packed(path: str, file: Path) -> None:
    """Raise if the installed package cannot dequantise a tensor of the file. Other damage of the
    header, and a missing package, are reported by whoever reads the configuration."""
    found: dict[int, list[str]] = {}
    with suppress(Cut):
        for name, kind in tensor_kinds(file):
            found.setdefault(kind, []).append(name)
    try:
        packed = {kind: names for kind, names in found.items() if not _can_unpack(kind)}
    except ImportError:
        return
    for kind, names in packed.items():
        raise RequestError(
            f"model.path={path}: {names[0]} and {len(names) - 1} other tensors are stored as "
            f"{_label(kind)}, which gguf {version('gguf')} cannot dequantise; update the package "
            "gguf, or give a file of another type, such as Q8_0"
        )


def _can_unpack(kind: int) -> bool:
    """Whether the package dequantises this type: tried on one block of zeros."""
    import numpy
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, dequantize

    try:
        known = GGMLQuantizationType(kind)
        dequantize(numpy.zeros((1, GGML_QUANT_SIZES[known][1]), numpy.uint8), known)
    except (ValueError, KeyError, NotImplementedError):
        return False
    return True


def _label(kind: int) -> str:
    from gguf import GGMLQuantizationType

    known = {int(one): one.name for one in GGMLQuantizationType}
    return known.get(kind, f"type {kind}")


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
