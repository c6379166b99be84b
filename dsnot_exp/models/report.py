"""What a checkpoint has of a model: the loading report, by transformers' own rules.

transformers makes up a weight that the checkpoint lacks, at random. Here that is an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import convert_and_load_state_dict_in_model
from transformers.modeling_utils import LoadStateDictConfig

from dsnot_exp.models.shards import Shards
from dsnot_exp.utils.errors import RequestError

BELONG = "take the config.json that belongs to these weights, or download the weights again"
SHOWN = 3  # keys in a message
KEPT = 10  # keys in result.json
# Buffers that older versions saved; newer ones compute them.
BUFFERS = re.compile(r"(inv_freq|position_ids|masked_bias|attn\.bias|attention\.bias)$")
# What quantised checkpoints store beside a weight, or instead of it.
PACKED = re.compile(
    r"(qweight|qzeros|scales|g_idx|weight_packed|weight_scale(_inv)?|_blocks|SCB|absmax|quant_map"
    r"|quant_state\..*)$"
)


@dataclass(frozen=True)
class Report:
    """family: the model's class
    missing: weights that the checkpoint lacks, without tied ones
    mismatched: weights of another shape, each with both shapes
    unexpected: tensors of the checkpoint that the model has no use for
    """

    family: str = ""
    missing: tuple[str, ...] = ()
    mismatched: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()

    def unused(self) -> str:
        return _some(self.unexpected, "tensor")

    def record(self) -> dict[str, Any]:
        """The `model.unexpected_keys` field of result.json."""
        return {"count": len(self.unexpected), "first": list(self.unexpected[:KEPT])}


UNKNOWN = Report()


def from_headers(model: Any, shards: Shards) -> Report:
    """The report of loading the tensors of `shards` into `model`, which is on the meta device and
    of no use afterwards. No tensor is read."""
    integers = any(not t.is_floating_point() for t in model.state_dict().values())
    tensors = {
        key: torch.empty(entry.shape, dtype=entry.dtype, device="meta")
        for key, entry in shards.entries.items()
        if entry.dtype.is_floating_point or integers or len(entry.shape) < 2
    }
    packed = {key for key in shards.entries if key not in tensors}  # integers are no weights
    found = load_tensors(model, tensors, torch.device("meta"))
    unexpected = {*found.unexpected_keys, *packed}
    model.tie_weights(missing_keys=found.missing_keys, recompute_mapping=False)
    model._adjust_missing_and_unexpected_keys(found)
    return _report(
        model, found.missing_keys, found.mismatched_keys, unexpected, found.conversion_errors
    )


def load_tensors(model: Any, tensors: dict[str, Tensor], device: torch.device) -> Any:
    """Load tensors with the checkpoint's names into the model; returns transformers' report."""
    options = LoadStateDictConfig(
        device_map={"": str(device)}, weight_mapping=get_model_conversion_mapping(model)
    )
    with torch.no_grad():
        found, _ = convert_and_load_state_dict_in_model(model, tensors, options)
    return found


def from_transformers(model: Any, info: dict[str, Any]) -> Report:
    """The report of `from_pretrained(..., output_loading_info=True)`."""
    return _report(
        model,
        info["missing_keys"],
        info["mismatched_keys"],
        info["unexpected_keys"],
        info.get("conversion_errors") or (),
    )


def _report(
    model: Any,
    missing: Iterable[str],
    mismatched: Iterable[Any],
    unexpected: Iterable[str],
    unconverted: Iterable[str],
) -> Report:
    wrong = {
        f"{key} is {_shape(stored)}, not {_shape(wanted)}" for key, stored, wanted in mismatched
    }
    return Report(
        type(model).__name__,
        tuple(sorted({*missing, *unconverted} - {key for key, *_ in mismatched})),
        tuple(sorted(wrong)),
        tuple(sorted(key for key in unexpected if not BUFFERS.search(key))),
    )


def refuse_incomplete(path: str, report: Report) -> None:
    """Raise if the checkpoint at `path` lacks a weight, or holds an adapter's matrices."""
    others = f" and holds {_some(report.unexpected, 'other tensor')}" if report.unexpected else ""
    if lora := [key for key in report.unexpected if "lora_" in key]:
        raise RequestError(
            f"model.path={path}: the checkpoint holds {_some(lora, 'LoRA tensor')}; merge the "
            "adapter into the weights with peft's merge_and_unload, and save the model again"
        )
    if report.missing:
        raise RequestError(
            f"model.path={path}: the checkpoint lacks {_some(report.missing, 'weight')} of "
            f"{report.family}{others}; {_remedy(report)}"
        )
    if report.mismatched:
        raise RequestError(
            f"model.path={path}: the checkpoint holds {_some(report.mismatched, 'weight')} of the "
            f"wrong shape; {BELONG}"
        )


def _remedy(report: Report) -> str:
    if {*report.missing} & {*report.unexpected} or any(map(PACKED.search, report.unexpected)):
        return "they are stored quantised: prune the unquantised model"
    if all("head" in key or key == "embed_out.weight" for key in report.missing):
        return (
            "a base model or reward model has no head: take the causal language model, or set "
            "tie_word_embeddings in config.json if its head is tied to the embeddings"
        )
    return BELONG


def _some(keys: Iterable[str], what: str) -> str:
    """3 weights (a, b, c)"""
    found = list(keys)
    more = ", ..." if len(found) > SHOWN else ""
    plural = "s" if len(found) > 1 else ""
    return f"{len(found)} {what}{plural} ({', '.join(found[:SHOWN])}{more})"


def _shape(shape: Any) -> str:
    return str(tuple(shape))
