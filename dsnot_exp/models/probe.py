"""One forward of a model without weights: which of its layers its forward calls, and how.

It runs on the meta device, in a second for the largest models, before any weight is read. A model
whose forward looks at values cannot run there: then the walk finds out at its first block.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from dsnot_exp.models.dependence import Dependence
from dsnot_exp.models.matrix import Linear, is_experts

log = logging.getLogger(__name__)

Layer = tuple[str, str]  # the name of a block, and of a layer inside it
SEQUENCES, TOKENS = 2, 32  # distinct: a shape shows which is which


@dataclass
class Probe:
    """calls: the blocks in the order in which they are called, by index
    hidden: the shape of the first block's input
    alone: each block receives the hidden states that the previous one has returned, and computes
        with nothing else that depends on earlier blocks
    called: the layers that are called
    unusual: those whose output is not (..., out) for an input (..., in)
    """

    tokens: int
    calls: list[int] = field(default_factory=list)
    hidden: tuple[int, ...] = ()
    alone: bool = True
    called: set[Layer] = field(default_factory=set)
    unusual: set[Layer] = field(default_factory=set)

    @property
    def walks(self) -> bool:
        """Whether the blocks' hidden states are (sequences, tokens, ...), as the walk needs."""
        return self.hidden[:2] == (SEQUENCES, self.tokens)


class _Assumed(TorchDispatchMode):
    """A value that the forward asks for is true, or 1: masks mask nothing."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default and args[0].is_meta:
            return torch.ones((), dtype=args[0].dtype).item()
        return func(*args, **(kwargs or {}))


@torch.no_grad()
def probe(
    model: Any, blocks: nn.ModuleList, layers: Mapping[Layer, Linear], positions: int | None
) -> Probe | None:
    """None if the model cannot run without weights.

    model: on the meta device; it is of no use afterwards
    layers: those to watch
    positions: the longest sequence that the model accepts
    """
    found, dependence = Probe(min(TOKENS, positions or TOKENS)), Dependence()
    for index, block in enumerate(blocks):
        before, after = _around_block(found, dependence, index)
        block.register_forward_pre_hook(before, with_kwargs=True)
        block.register_forward_hook(after)
    for name, layer in layers.items():
        layer.module.register_forward_hook(_on_layer(found, name, layer.weight.shape[0]))
    for module in model.modules():
        if is_experts(module):  # which expert a token goes to is a value
            module.forward = lambda states, *args, **kwargs: torch.zeros_like(states)
    ids = torch.zeros(SEQUENCES, found.tokens, dtype=torch.long, device="meta")
    try:
        with _Assumed(), dependence:
            model.eval()(input_ids=ids, use_cache=False)
    except Exception as error:  # its type depends on the model's code
        log.debug("no forward without weights: %s", error)
        return None
    found.alone &= not dependence.used
    return found


def _around_block(
    found: Probe, dependence: Dependence, index: int
) -> tuple[Callable[..., None], Callable[..., None]]:
    def before(block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        rest = dict(kwargs)
        states = args[0] if args else rest.pop("hidden_states", None)
        if not found.calls and isinstance(states, Tensor):
            found.hidden = tuple(states.shape)
        found.alone &= not found.calls or dependence.returned(states)
        found.calls.append(index)
        dependence.enter((args[1:], rest))

    def after(block: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        dependence.leave(output)

    return before, after


def _on_layer(found: Probe, name: Layer, wide: int) -> Callable[..., None]:
    def hook(module: nn.Module, args: tuple[Tensor, ...], output: Any) -> None:
        found.called.add(name)
        plain = isinstance(output, Tensor) and bool(args)
        if not plain or output.shape != (*args[0].shape[:-1], wide):
            found.unusual.add(name)

    return hook
