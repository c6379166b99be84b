"""Watches the gradients of the outputs of a block's linears."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from torch import Tensor, nn

from dsnot_exp.models.linears import Linear
from dsnot_exp.walk.experts import ExpertProducts


class Squares:
    """Sums, over tokens, the squared gradients of the outputs of a block's linears.

    sums: by linear, (out,) float64; tokens: how many each has seen
    """

    def __init__(self, linears: Mapping[str, Linear]) -> None:
        self.linears = linears
        self.sums: dict[str, Tensor] = {}
        self.tokens: dict[str, int] = {}

    @contextmanager
    def listening(self) -> Iterator[None]:
        with ExitStack() as open_:
            experts = {n: linear for n, linear in self.linears.items() if linear.expert is not None}
            for name, linear in self.linears.items():
                if linear.expert is None:
                    handle = linear.module.register_forward_hook(partial(self._hook, name))
                    open_.callback(handle.remove)
            if experts:
                open_.enter_context(_ExpertOutputs(experts, self.watch))
            yield

    def _hook(self, name: str, module: nn.Module, args: Any, output: Any) -> None:
        self.watch(name, output)

    def watch(self, name: str, output: Any) -> None:
        if isinstance(output, Tensor) and output.requires_grad:
            output.register_hook(partial(self._add, name))

    def _add(self, name: str, gradient: Tensor) -> None:
        rows = gradient.reshape(-1, gradient.shape[-1])  # (tokens, out)
        found = rows.double().square_().sum(0)
        self.sums[name] = self.sums[name] + found if name in self.sums else found
        self.tokens[name] = self.tokens.get(name, 0) + len(rows)


class _ExpertOutputs(ExpertProducts):
    """As ExpertProducts, with the outputs instead of the inputs."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        name = self.expert(func, args)
        if name is not None:
            self.count(name, output)
        return output
