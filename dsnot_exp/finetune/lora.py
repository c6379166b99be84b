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

from dsnot_exp.errors import RequestError, RunError
from dsnot_exp.models.linears import Linear

SCHEDULES = ("linear", "cosine", "constant_with_warmup")


@dataclass(frozen=True)
class Lora:
    """The options; the optimizer is AdamW without weight decay, the gradient's norm at most 1.

    dataset, samples, seqlen: as the calibration's, drawn in the same way, so that its sequences
        come first; samples null: as many as `steps` need, each seen once; seqlen null: calib's
    steps, batch_size: optimizer steps, sequences in each
    learning_rate: the highest; it rises over the first `warmup` of the steps (a fraction), then
        follows `schedule`
    rank, alpha: of the adapters; the delta is scaled by alpha / rank
    checkpointing: compute activations again in the backward pass: less memory, a third more time
    """

    dataset: str = "c4"
    samples: int | None = None
    seqlen: int | None = None
    steps: int = 500
    batch_size: int = 8
    learning_rate: float = 1e-4
    warmup: float = 0.05
    schedule: str = "linear"
    rank: int = 8
    alpha: int = 16
    checkpointing: bool = False

    def __post_init__(self) -> None:
        for name in ("samples", "steps", "batch_size", "rank", "alpha"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}={value}: expected 1 or more")
        if self.seqlen is not None and self.seqlen < 2:
            raise ValueError(f"seqlen={self.seqlen}: a sequence needs two tokens to predict one")
        if not 0 < self.learning_rate <= 1:
            raise ValueError(f"learning_rate={self.learning_rate}: expected above 0, at most 1")
        if not 0 <= self.warmup < 1:
            raise ValueError(f"warmup={self.warmup}: expected a fraction of the steps in [0, 1)")
        if self.schedule not in SCHEDULES:
            raise ValueError(f"schedule={self.schedule}: choose from {', '.join(SCHEDULES)}")

    @property
    def sequences(self) -> int:
        return self.samples or self.steps * self.batch_size

    def refuse(self, layer: str, linear: Linear) -> None:
        """Refuse an expert: no mask can act on what peft adds to it."""
        if linear.expert is not None:
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
        from dsnot_exp.finetune.training import train  # transformers' Trainer imports slowly

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
