"""What a model object must be, so that it can be pruned or measured."""

from __future__ import annotations

import copy
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized
from transformers import PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from dsnot_exp.api.arguments import ArgumentError
from dsnot_exp.models.formats import refuse_quantised
from dsnot_exp.models.kinds import refuse_other_kinds
from dsnot_exp.models.linears import is_adapter

LOAD = "load it with AutoModelForCausalLM.from_pretrained"
# What people wrap models in, by an attribute of the wrapper, and how to get the model out of it.
WRAPPERS = {
    "_orig_mod": "a compiled model; give the model that torch.compile was given (model._orig_mod)",
    "merge_and_unload": "a model of peft; give model.merge_and_unload()",
    "module": "a wrapper; give the model inside it (model.module)",
}


def refuse_other_objects(model: Any) -> None:
    """Raise unless `model` is a causal language model of transformers."""
    kind = type(model).__name__
    if not isinstance(model, PreTrainedModel):
        found = next((why for name, why in WRAPPERS.items() if hasattr(model, name)), None)
        raise ArgumentError(f"model: {kind} is {found or f'no model of transformers; {LOAD}'}")
    refuse_quantised(kind, model.config.to_dict(), [])
    if getattr(model, "hf_quantizer", None) is not None:
        raise ArgumentError(f"model: {kind} is quantised; prune the unquantised model")
    refuse_other_kinds(kind, model.config)
    known = kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values()
    if not known and model.get_output_embeddings() is None:
        raise ArgumentError(f"model: {kind} has no language-model head; {LOAD}")


def refuse_weights(model: Any, prunes: bool) -> None:
    """Raise if the weights are not where they can be used. prunes: they are going to be changed"""
    for name, parameter in model.named_parameters():
        if parameter.is_meta:
            raise ArgumentError(
                f"model: {name} is on the meta device or offloaded to disk; {LOAD}, without "
                "device_map"
            )
        if not parameter.dtype.is_floating_point:
            raise ArgumentError(
                f"model: {name} holds {parameter.dtype}; prune the unquantised model"
            )
    if not prunes:
        return
    places = sorted({str(p.device) for p in model.parameters()})
    hooks = [m._hf_hook for m in model.modules() if hasattr(m, "_hf_hook")]
    if len(places) > 1 or any(_offloads(hook) for hook in hooks):
        raise ArgumentError(
            f"model: its weights are spread by device_map ({', '.join(places)}); {LOAD}, without "
            "device_map, and give device='cuda': blocks that do not fit are moved one at a time"
        )
    for name, module in model.named_modules():
        if is_adapter(name):
            raise ArgumentError(
                f"model: {name} is a LoRA adapter; merge it: model.merge_and_unload()"
            )
        if is_parametrized(module) or hasattr(module, "weight_orig"):
            raise ArgumentError(
                f"model: the weight of {name} is computed from others (torch.nn.utils); make it "
                "permanent with prune.remove or parametrize.remove_parametrizations"
            )
    for name, parameter in model.named_parameters():
        if parameter.is_inference():
            raise ArgumentError(
                f"model: {name} was made in torch.inference_mode(), so that nothing can change "
                "it; load the model outside of it"
            )
        if type(parameter.data) is not Tensor:
            raise ArgumentError(
                f"model: {name} is a {type(parameter.data).__name__}, which is spread over "
                f"processes; {LOAD}, without tp_plan"
            )


def _offloads(hook: Any) -> bool:
    """Whether a hook of accelerate moves weights; one that moves inputs alone does no harm."""
    hooks = getattr(hook, "hooks", (hook,))
    return any(getattr(one, "offload", False) for one in hooks)


def shadow(model: nn.Module) -> Any:
    """A copy of the model on the meta device, without weights and hooks: with the layers that this
    object has, whatever its configuration says."""
    memo: dict[int, Any] = {}
    inside = (value for module in model.modules() for value in vars(module).values())
    loose = (value for value in inside if isinstance(value, Tensor))
    for tensor in chain(model.parameters(), model.buffers(), loose):
        empty = torch.empty_like(tensor, device="meta").detach()
        is_parameter = isinstance(tensor, nn.Parameter)
        memo[id(tensor)] = nn.Parameter(empty, requires_grad=False) if is_parameter else empty
    copied = copy.deepcopy(model, memo)
    for module in copied.modules():
        for hooks in ("_forward_pre_hooks", "_forward_hooks", "_backward_hooks"):
            getattr(module, hooks).clear()
        if hasattr(module, "_old_forward"):  # accelerate's hooks replace it
            module.__dict__.pop("forward", None)
    return copied
