"""The authors' code on our model and tokens: DSnoT's (github zyxxmu/DSnoT) and SparseGPT's (github
IST-DASLab/sparsegpt), from a checkout of each.

Both were written for transformers 4 and read C4 themselves; what differs is replaced from the
outside. SparseGPT is their class; the loop over blocks around it is ours.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from dsnot_exp.config import Config
from dsnot_exp.methods.notation import read_pattern
from dsnot_exp.run.settle import is_none
from dsnot_exp.walk.calls import Call
from dsnot_exp.walk.capture import capture
from dsnot_exp.walk.sequences import resident

# Prunes blocks in order and in place: blocks, the inputs of the first (sequences, tokens, hidden),
# which it may overwrite, and each block's arguments for one sequence.
Authors = Callable[[Sequence[nn.Module], Tensor, Sequence[Call]], None]


def dsnot(checkout: str, config: Config) -> Authors:
    """Wanda alone, or Wanda or magnitude + DSnoT. `refine.skip`: empty, or the released default."""
    released = imported(checkout, "lib.prune")
    prune_n, prune_m = zeros_of(config)
    refine, prune = config.refine, config.prune["name"]
    options = Namespace(
        seed=0,
        initial_method=prune,
        sparsity_ratio=config.sparsity,
        max_cycle_time=refine.get("max_cycles"),
        update_threshold=refine.get("update_threshold", 0.1),
        pow_of_var_regrowing=refine.get("variance_power", 1.0),
        skip_layer="mlp" if refine.get("skip") else "no_skip",
        skip_sub_layer="no_skip",
        without_DSnoT=False,
        without_same_sign=True,
        get_time_overhead=False,
    )
    function = released.prune_wanda if is_none(refine) else released.prune_DSnoT

    def run(blocks: Sequence[nn.Module], hidden: Tensor, calls: Sequence[Call]) -> None:
        options.nsamples, length, _ = hidden.shape
        model = Namespace(
            model=Namespace(layers=blocks),
            config=Namespace(use_cache=False),
            seqlen=length,
            hf_device_map={},
        )
        released.get_loaders = lambda *_, **__: (None, None)
        released.prepare_calibration_input = lambda *_: (
            hidden,
            torch.zeros_like(hidden),
            None,
            None,
        )
        with given(blocks, calls), silence():
            function(options, model, None, hidden.device, prune_n, prune_m)

    return run


class OneLess(float):
    """A share of n weights that is one weight less: where code prunes what is <= a threshold, it
    prunes one weight more than it is asked for."""

    def __rmul__(self, n: Any) -> int:  # n * share
        return int(n * float(self)) - 1


def sparsegpt(checkout: str, config: Config, exact: bool = False) -> Authors:
    """The authors' class, `fasterprune` unchanged. `exact`: without the one weight more in every
    128 columns that it prunes at an unstructured sparsity."""
    released = imported(checkout, "sparsegpt")
    prune_n, prune_m = zeros_of(config)
    block, damping = config.prune["block"], config.prune["damping"]
    share = (OneLess if exact else float)(config.sparsity)

    @torch.no_grad()
    def run(blocks: Sequence[nn.Module], hidden: Tensor, calls: Sequence[Call]) -> None:
        for module, call in zip(blocks, calls, strict=True):
            layers = [layer for layer in module.modules() if isinstance(layer, nn.Linear)]
            theirs = [released.SparseGPT(layer) for layer in layers]
            handles = [
                layer.register_forward_hook(partial(_add, one))
                for layer, one in zip(layers, theirs, strict=True)
            ]
            for states in hidden.split(1):
                call.replay(module, states)
            for handle in handles:
                handle.remove()
            with silence(), mock.patch("torch.cuda.synchronize"):
                for one in theirs:
                    one.fasterprune(share, prune_n, prune_m, block, damping)
            for states in hidden.split(1):
                states.copy_(call.replay(module, states))

    return run


def _add(solver: Any, layer: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
    solver.add_batch(args[0], output)


def wanda_dsnot(
    checkout: str, model: Any, ids: Tensor, sparsity: float, cycles: int
) -> Callable[[], None]:
    """To be timed: up to the first block, then Wanda + DSnoT on every linear of every block.

    ids: (sequences, tokens)
    """
    refine = {"name": "dsnot", "max_cycles": cycles}
    config = Config(prune={"name": "wanda"}, refine=refine, sparsity=sparsity)
    authors, blocks = dsnot(checkout, config), model.model.layers
    return lambda: authors(blocks, *start(model, blocks, ids))


def start(model: nn.Module, blocks: nn.ModuleList, ids: Tensor) -> tuple[Tensor, list[Call]]:
    """The inputs of the first block (sequences, tokens, hidden), a sequence at a time as in the
    released code, and each block's arguments for one sequence."""
    hidden: list[Tensor] = []
    calls = capture(model, blocks, list(ids.split(1)), hidden.append, resident, {})
    return torch.cat(hidden), [own[0] for own in calls]


def zeros_of(config: Config) -> tuple[int, int]:
    """N:M as the released code reads it: N zeros in every M. 0:0 is unstructured."""
    amount = read_pattern(config.pattern, config.sparsity)
    return (amount[1] - amount[0], amount[1]) if isinstance(amount, tuple) else (0, 0)


def imported(checkout: str, name: str) -> Any:
    sys.path.insert(0, checkout)
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(checkout)


@contextlib.contextmanager
def given(blocks: Sequence[nn.Module], calls: Sequence[Call]) -> Iterator[None]:
    """In this context the blocks are called with these arguments, whatever the caller names."""

    def replaced(call: Call, _: nn.Module, args: Any, kwargs: dict[str, Any]) -> Any:
        return args, kwargs | call.kwargs

    handles = [
        block.register_forward_pre_hook(partial(replaced, call), with_kwargs=True)
        for block, call in zip(blocks, calls, strict=True)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Without what the released code prints for every layer."""
    with open(os.devnull, "w") as null, contextlib.redirect_stdout(null):
        yield
