"""The authors' code (github zyxxmu/DSnoT), from a checkout of it, on our model and tokens.

It was written for transformers 4 and reads C4 itself; what differs is replaced from the outside.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from argparse import Namespace
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from dsnot_exp.walk.capture import capture
from dsnot_exp.walk.sequences import resident


def wanda_dsnot(
    checkout: str, model: Any, ids: Tensor, sparsity: float, cycles: int
) -> Callable[[], None]:
    """Wanda + DSnoT on every linear of every block; ids: (sequences, tokens)."""
    sys.path.insert(0, checkout)
    try:
        released: Any = importlib.import_module("lib.prune")
    finally:
        sys.path.remove(checkout)
    sequences, length = ids.shape
    options = Namespace(
        nsamples=sequences,
        seed=0,
        initial_method="wanda",
        sparsity_ratio=sparsity,
        max_cycle_time=cycles,
        update_threshold=0.1,
        pow_of_var_regrowing=1,
        skip_layer="no_skip",
        skip_sub_layer="no_skip",
        without_DSnoT=False,
        without_same_sign=True,
        get_time_overhead=False,
    )
    blocks = model.model.layers
    model.seqlen, model.hf_device_map = length, {}

    def inputs(*_: Any) -> tuple[Tensor, Tensor, None, None]:
        """Its own forward up to the first block, a sequence at a time as in its code."""
        hidden: list[Tensor] = []
        calls = capture(model, blocks, list(ids.split(1)), hidden.append, resident, {})
        arguments["position_embeddings"] = calls[0][0].kwargs["position_embeddings"]
        hidden = torch.cat(hidden)
        return hidden, torch.zeros_like(hidden), None, None

    arguments: dict[str, Any] = {}

    def add(_: Any, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        return args, kwargs | arguments

    released.get_loaders = lambda *_, **__: (None, None)
    released.prepare_calibration_input = inputs

    def run() -> None:
        arguments.clear()
        handles = []
        try:
            with open(os.devnull, "w") as null, contextlib.redirect_stdout(null):
                hooks = (b.register_forward_pre_hook(add, with_kwargs=True) for b in blocks)
                handles = list(hooks)
                released.prune_DSnoT(options, model, None, ids.device)
        finally:
            for handle in handles:
                handle.remove()

    return run
