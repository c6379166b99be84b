"""Load the configuration, tokenizer and weights of a located model."""

from __future__ import annotations

import os
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from dsnot_exp.models import gguf
from dsnot_exp.models.intact import refuse_broken, tokenizer_files
from dsnot_exp.models.report import Report, from_transformers, refuse_incomplete
from dsnot_exp.models.source import Source
from dsnot_exp.utils import accelerator
from dsnot_exp.utils.errors import RequestError, RunError, first_line
from dsnot_exp.utils.quiet import silent_stderr

# Otherwise transformers asks a web service to convert repositories that only have pickle files.
os.environ.setdefault("DISABLE_SAFETENSORS_CONVERSION", "1")
TORCH_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
MEMORY_SHARE = 0.6  # share of free memory that a model's weights may use


def load_config(source: Source) -> Any:
    """The model's configuration, without its weights."""
    try:
        return AutoConfig.from_pretrained(**source.arguments())
    except (OSError, ValueError, KeyError, ImportError, struct.error) as error:
        if source.gguf is not None:
            gguf.refuse_unreadable(source.place, error)
        raise RequestError(
            f"model.path={source.place}: transformers does not know this model ({_line(error)})"
        ) from error


def refuse_broken_tokenizer(source: Source) -> None:
    """Raise if a file of a local model's tokenizer is empty or a git-lfs pointer."""
    if source.revision is None and source.gguf is None:
        for file in tokenizer_files(Path(source.path)):
            refuse_broken(source.path, file)


def load_tokenizer(source: Source, rows: int | None = None) -> Any:
    """rows: entries of the model's vocabulary; raises if the tokenizer has more"""
    try:
        tokenizer = AutoTokenizer.from_pretrained(**source.arguments())
    except (OSError, ValueError, KeyError, ImportError, AttributeError, TypeError) as error:
        raise RequestError(
            f"model.path={source.place}: cannot load its tokenizer ({_line(error)}); use "
            "tokenised .safetensors files for calib.dataset and eval.perplexity, and no eval.tasks"
        ) from error
    if rows is not None:
        refuse_larger_tokenizer(source.place, tokenizer, rows)
    return tokenizer


def refuse_larger_tokenizer(place: str, tokenizer: Any, rows: int) -> None:
    """Added tokens may lie beyond the embeddings: Gemma 3's image token does."""
    if tokenizer.vocab_size > rows:
        raise RequestError(
            f"model.path={place}: its tokenizer has {tokenizer.vocab_size} entries and the "
            f"model's vocabulary {rows}; take the tokenizer that belongs to this model"
        )


def skeleton(source: Source, config: Any) -> Any:
    """The model on the meta device, without weights: enough to find what can be pruned."""
    with torch.device("meta"):
        try:
            return AutoModelForCausalLM.from_config(
                config, trust_remote_code=source.trust_remote_code
            )
        except (OSError, ValueError, KeyError, ImportError, AttributeError, TypeError) as error:
            raise RequestError(
                f"model.path={source.place}: not a causal language model ({_line(error)})"
            ) from error


def load_model(source: Source, dtype: str, use_safetensors: bool) -> tuple[Any, Report]:
    """The causal language model in memory, in evaluation mode, and the report of its loading."""
    packed = source.gguf is not None
    try:
        with silent_stderr() if packed else nullcontext():  # it shows a progress bar
            model, info = AutoModelForCausalLM.from_pretrained(
                **source.arguments(),
                **(gguf.dequantised() if packed else {}),
                dtype=dtype,
                use_safetensors=use_safetensors,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # otherwise it raises before its report can be read
            )
    except Exception as error:  # the type depends on the format and on what is broken
        if isinstance(error, torch.OutOfMemoryError | MemoryError):
            raise
        raise RunError(
            f"model.path={source.place}: cannot load the model ({_line(error)})"
        ) from error
    report = from_transformers(model, info)
    refuse_incomplete(source.place, report)
    if packed:
        gguf.forget_quantisation(model)
    model.eval().requires_grad_(False)
    refuse_nonfinite_weights(model)
    return model, report


@contextmanager
def spread(source: Source, dtype: str, device: torch.device) -> Iterator[Any]:
    """The model, spread by transformers over device, memory and disk, filled in this order."""
    most: dict[int | str, int] = {"cpu": int(MEMORY_SHARE * psutil.virtual_memory().available)}
    if accelerator.is_accelerator(device):
        index = accelerator.index(device)
        most = {index: int(MEMORY_SHARE * accelerator.free_memory(device)), **most}
    with tempfile.TemporaryDirectory(prefix="dsnot-exp-offload-") as offload:
        model = AutoModelForCausalLM.from_pretrained(
            **source.arguments(),
            dtype=dtype,
            use_safetensors=True,
            device_map="auto",
            max_memory=most,
            offload_folder=offload,
        )
        yield model.eval().requires_grad_(False)


def refuse_nonfinite_weights(model: nn.Module, prefix: str = "") -> None:
    for name, parameter in model.named_parameters():
        if not bool(torch.isfinite(parameter).all()):
            raise RunError(
                f"{prefix}{name}: its weights contain NaN or infinity; the checkpoint is damaged"
            )


def positions(config: Any) -> int | None:
    """The model's maximum sequence length, or None if it has no limit."""
    text = config.get_text_config()
    for name in ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length"):
        value = getattr(text, name, None)
        if isinstance(value, int):
            return value
    return None


def hidden_size(config: Any) -> int:
    """The width of a hidden state."""
    found: int = config.get_text_config().hidden_size
    return found


def _line(error: BaseException) -> str:
    asks = "trust_remote_code=True" in str(error)
    return first_line(error) + ("; model.trust_remote_code=true allows it" if asks else "")
