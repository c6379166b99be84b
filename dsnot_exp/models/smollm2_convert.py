"""Convert the .gguf file of SmolLM2-135M into a Hugging Face folder, and check its weights."""

from __future__ import annotations

import hashlib
from importlib.metadata import version
from pathlib import Path

from safetensors import SafetensorError, safe_open

from dsnot_exp.config import ModelConfig
from dsnot_exp.models.loading import load_model, load_tokenizer
from dsnot_exp.models.source import locate
from dsnot_exp.utils.errors import RunError


def convert(file: Path, folder: Path) -> None:
    """Write `file` to `folder` as save_pretrained does, tokenizer and chat template included.

    In float32, which holds the dequantised values exactly: model.dtype chooses what a run uses.
    """
    source = locate(ModelConfig("local", str(file)))
    model, _ = load_model(source, "float32", use_safetensors=True)
    tokenizer = load_tokenizer(source, model.config.vocab_size)
    try:
        model.save_pretrained(folder)
    except SafetensorError as error:  # a full disk
        raise OSError(str(error)) from error
    tokenizer.save_pretrained(folder)
    for written in folder.iterdir():
        written.chmod(0o644)  # safetensors denies access to other users


def refuse_other_weights(folder: Path, expected: str) -> None:
    """Raise if the weights in `folder` are not the expected ones."""
    found = weights_sha256(folder)
    if found != expected:
        raise RunError(
            f"the weights that gguf {version('gguf')} and transformers {version('transformers')} "
            f"read are not the expected ones (sha256 {found[:12]}..., expected {expected[:12]}...);"
            " install the versions of constraints.txt"
        )


def weights_sha256(folder: Path) -> str:
    """Over names, shapes and values, and not over the file, whose header may say other things."""
    digest = hashlib.sha256()
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, "numpy") as tensors:
            for name in sorted(tensors.keys()):
                values = tensors.get_tensor(name)
                digest.update(f"{name} {values.dtype} {values.shape} ".encode())
                digest.update(values.tobytes())
    return digest.hexdigest()
