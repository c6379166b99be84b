"""LoRA (arXiv 2106.09685) on the sparse model's pruned layers, by peft, merged under the mask.

A dense delta B A fills the zeros, and masked only when it is merged it would lose what training had
put there. So the mask M acts on the delta that peft itself adds to the weight, in every forward as
in the merge:

    W' = W + M * (alpha / rank) B A

What is trained is what is merged, and a pruned weight is exactly zero. peft builds the delta before
the forward where an adapter is on a parameter (`target_parameters`), so only there a mask can act.
Such adapters have no dropout, and those of experts (3-D parameters) are applied by their factors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dsnot_exp.methods.finetune.options import TrainingOptions, require_positive
from dsnot_exp.utils.errors import RequestError, RunError


@dataclass(frozen=True)
class Lora(TrainingOptions):
    """rank, alpha: of the adapters; the delta is scaled by alpha / rank"""

    rank: int = 8
    alpha: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("rank", "alpha"):
            require_positive(name, getattr(self, name))

    def refuse(self, layer: str, is_expert: bool) -> None:
        """Refuse an expert: no mask can act on what peft adds to it."""
        if is_expert:
            raise RequestError(
                f"finetune=lora: {layer} is an expert, and peft cannot train experts under a mask; "
                "choose finetune=none"
            )

    def __call__(
        self,
        model: Any,
        parameters: Sequence[str],
        ids: Tensor,
        seed: int,
        on_step: Callable[[float], None] = lambda loss: None,
    ) -> dict[str, Any]:
        """Train `parameters` (names of sparse weights) on `ids: (sequences, tokens)`, in place;
        returns the facts. `on_step` is given the loss of each step."""
        from dsnot_exp.methods.finetune.training import (
            train,  # transformers' Trainer imports slowly
        )

        with seeded(seed, model.device), own_config(model):
            adapted = self._adapted(model, parameters)
            trainable = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
            losses = train(adapted, ids, self, seed, on_step)
            try:
                merged = adapted.merge_and_unload(safe_merge=True)
            except ValueError as error:  # "NaNs detected in the merged weights"
                raise RunError(f"finetune=lora: {error}") from error
        assert merged is model
        vars(model).pop("peft_config", None)  # older versions of peft leave it
        model.eval().requires_grad_(False)
        return {
            "steps": len(losses),
            "trainable_parameters": trainable,
            "first_loss": losses[0],
            "last_loss": losses[-1],
        }

    def _adapted(self, model: Any, parameters: Sequence[str]) -> Any:
        """The model in peft's wrapper, its adapters float32 and under the mask."""
        from peft import LoraConfig, get_peft_model  # imports slowly
        from peft.tuners.lora import LoraLayer

        config = LoraConfig(
            r=self.rank,
            lora_alpha=self.alpha,
            target_modules=[],
            target_parameters=list(parameters),
        )
        adapted = get_peft_model(model, config)
        layers = [m for m in adapted.modules() if isinstance(m, LoraLayer)]
        assert len(layers) == len(parameters), "an adapter for each parameter, and no other"
        for layer in layers:
            layer.get_delta_weight = masked(layer)
        return adapted


def masked(layer: Any) -> Callable[..., Tensor]:
    """What peft adds to a layer's weight, zero where the weight is. The weight is frozen, so its
    zeros are the mask; a kept weight that was zero by itself stays so."""
    delta = layer.get_delta_weight

    def under_the_mask(*args: Any, **kwargs: Any) -> Tensor:
        return delta(*args, **kwargs).masked_fill(layer.get_param() == 0, 0)

    return under_the_mask


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """A random state of the training's own; Trainer seeds every generator there is."""
    import random

    import numpy as np

    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


@contextmanager
def own_config(model: Any) -> Iterator[None]:
    """Trainer turns the cache off in the model's configuration, which would be saved with it."""
    before = dict(vars(model.config))
    try:
        yield
    finally:
        vars(model.config).clear()
        vars(model.config).update(before)
