"""Sees the inputs of experts, whose weights are slices of 3-D parameters of one module."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from dsnot_exp.models.linears import Linear

PRODUCTS = (nn.functional.linear, torch.matmul, Tensor.matmul, Tensor.__matmul__)


class ExpertProducts(TorchFunctionMode):
    """Calls `count` at every product with an expert's slice of a 3-D parameter.

    In this context experts run one after the other (`eager`), without fused kernels.
    """

    def __init__(self, experts: dict[str, Linear], count: Callable[[str, Tensor], None]) -> None:
        super().__init__()
        self.names = {linear.weight.data_ptr(): name for name, linear in experts.items()}
        configs: list[Any] = [expert.module.config for expert in experts.values()]
        self.configs = {id(config): config for config in configs}
        self.before = {key: c._experts_implementation for key, c in self.configs.items()}
        self.count = count

    def __enter__(self) -> ExpertProducts:
        for config in self.configs.values():
            config._experts_implementation = "eager"
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        for key, config in self.configs.items():
            config._experts_implementation = self.before[key]

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        name = self.expert(func, args)
        if name is not None:
            self.count(name, args[0])
        return func(*args, **(kwargs or {}))

    def expert(self, func: Any, args: tuple[Any, ...]) -> str | None:
        """The expert with whose weight this call multiplies, if any."""
        if func in PRODUCTS and len(args) > 1 and args[1].dim() == 2:
            return self.names.get(args[1].data_ptr())
        return None
