"""LoRA (arXiv 2106.09685) by peft on the pruned layers, merged under the mask.

A dense delta B A would fill the zeros. Masking it only when it is merged would discard part of what
was trained. So the mask M acts on the delta that peft adds to the weight, in every forward and in
the merge:

    W' = W + M * (alpha / rank) B A

Training and merging therefore agree, and pruned weights stay exactly zero. peft builds the delta
before the forward only for adapters on parameters (`target_parameters`), so a mask can act only
there. Such adapters have no dropout, and for experts (3-D parameters) peft applies the factors
separately, where no mask can act.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dsnot_exp.methods.finetune.options import LoraOptions
from dsnot_exp.utils.accelerator import is_accelerator
from dsnot_exp.utils.errors import RequestError, RunError


@dataclass(frozen=True)
class Lora(LoraOptions):
    """Trains adapters and merges them."""

    def refuse(self, layer: str, is_expert: bool) -> None:
        """Refuse an expert: no mask can act on the delta that peft adds to it."""
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
        """Train `parameters` (names of sparse weights) in place on `ids: (sequences, tokens)`;
        returns what result.json records. `on_step` receives the loss of each step."""
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
        """The model wrapped by peft, with float32 adapters under the mask."""
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
    """The delta that peft adds to a layer's weight, set to zero where the weight is zero. The
    weight is frozen, so its zeros are the mask; a kept weight that happens to be zero stays
    zero."""
    delta = layer.get_delta_weight

    def under_the_mask(*args: Any, **kwargs: Any) -> Tensor:
        return delta(*args, **kwargs).masked_fill(layer.get_param() == 0, 0)

    return under_the_mask


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seeds the training, and restores the random state afterwards: Trainer seeds every
    generator."""
    import random

    import numpy as np

    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng([device] if is_accelerator(device) else []):
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


@contextmanager
def own_config(model: Any) -> Iterator[None]:
    """Restores the model's configuration: Trainer turns its cache off, and that would be saved."""
    before = dict(vars(model.config))
    try:
        yield
    finally:
        vars(model.config).clear()
        vars(model.config).update(before)
