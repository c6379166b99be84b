"""Checkpoints that are no plain model, named before anything is loaded: quantised weights, and
LoRA adapters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dsnot_exp.utils.errors import RequestError

ADAPTER = "adapter_config.json"
# Where GPTQ, AWQ and TensorRT Model Optimizer state what config.json may not.
QUANTISED = ("quantize_config.json", "quant_config.json", "hf_quant_config.json")
KEYS = ("quantization_config", "compression_config", "quantization")  # the last one is MLX's


def refuse_quantised(path: str, config: dict[str, Any], names: list[str]) -> None:
    """config: the content of config.json; names: of the files beside it"""
    found = next(_methods(config), None)
    beside = [name for name in QUANTISED if name in names]
    if found is None and beside:
        found = f"{beside[0]} is beside it"
    if found is not None:
        raise RequestError(
            f"model.path={path}: the checkpoint is quantised ({found}); prune the unquantised "
            "model, and quantise the result"
        )


def _methods(config: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """Every quantisation that a configuration states, in nested ones too."""
    for key, value in config.items():
        if key in KEYS and value:
            given = value if isinstance(value, dict) else {}
            method = given.get("quant_method") or given.get("quant_type") or given.get("format")
            yield f"{prefix}{key}: {method}" if method else f"config.json has {prefix}{key}"
        elif isinstance(value, dict):
            yield from _methods(value, f"{prefix}{key}.")


def refuse_adapter(path: str, adapter: dict[str, Any], with_model: bool) -> None:
    """adapter: the content of adapter_config.json; with_model: a model is in the same place"""
    kind = str(adapter.get("peft_type") or "LoRA")
    what = "a LoRA adapter" if kind.upper() == "LORA" else f"an adapter of type {kind}"
    base = adapter.get("base_model_name_or_path") or "a base model that it does not name"
    place = "beside the model is" if with_model else "holds"
    instead = f"; or move {ADAPTER} away to prune the model without it" if with_model else ""
    raise RequestError(
        f"model.path={path}: {place} {what} of {base} ({ADAPTER}), which transformers would apply "
        "without merging it; merge it with peft: PeftModel.from_pretrained(base, "
        "adapter).merge_and_unload().save_pretrained(folder), and prune that folder"
        f"{instead}"
    )
