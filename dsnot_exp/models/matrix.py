"""One prunable matrix, always exposed as `weight: (out, in)`.

GPT-2's `Conv1D` and gpt_oss' experts store weights as (in, out). Only this module transposes them.
The experts of one layer are slices of 3-D parameters, (experts, out, in).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class Linear:
    """One prunable matrix: the weight of a module, or one expert's slice of a parameter."""

    module: nn.Module
    name: str = "weight"  # the parameter's name in the module
    transposed: bool = False
    expert: int | None = None

    @property
    def parameter(self) -> Tensor:
        return self.module.get_parameter(self.name)

    @property
    def weight(self) -> Tensor:
        """(out, in): the parameter itself or a view of it."""
        return self._of(self.parameter.data)

    @property
    def gradient(self) -> Tensor | None:
        """(out, in): the gradient of the weight; None after no backward pass."""
        gradient = self.parameter.grad
        return None if gradient is None else self._of(gradient)

    @property
    def key(self) -> tuple[int, int | None]:
        """Equal for two layers that share their weight."""
        return id(self.parameter), self.expert

    def write(self, weight: Tensor) -> None:
        """Copy `weight: (out, in)` into the parameter, in the parameter's dtype."""
        self.weight.copy_(weight)

    def _of(self, whole: Tensor) -> Tensor:
        part = whole if self.expert is None else whole[self.expert]
        return part.T if self.transposed else part


def is_experts(module: nn.Module) -> bool:
    """Whether a module holds experts as 3-D parameters, as in transformers 5. Such modules state
    their orientation in `is_transposed`."""
    return hasattr(module, "is_transposed") and any(
        p.dim() == 3 for p in module.parameters(recurse=False)
    )


def expert_matrices(module: nn.Module) -> Iterator[Linear]:
    matrices = [(n, p) for n, p in module.named_parameters(recurse=False) if p.dim() == 3]
    for expert in range(matrices[0][1].shape[0]):
        for name, _ in matrices:
            yield Linear(module, name, bool(module.is_transposed), expert)
