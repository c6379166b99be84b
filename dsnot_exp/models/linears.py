"""The prunable matrices of a block, always exposed as `weight: (out, in)`.

GPT-2's `Conv1D` and gpt_oss' experts store weights as (in, out). Only this module transposes them.
The experts of one layer are slices of 3-D parameters, (experts, out, in).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch

from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from dsnot_exp.utils.errors import RequestError

ROUTERS = ("gate", "router", "shared_expert_gate")


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
        weight = self.parameter.data
        if self.expert is not None:
            weight = weight[self.expert]
        return weight.T if self.transposed else weight

    def write(self, weight: Tensor) -> None:
        """Copy `weight: (out, in)` into the parameter, in the parameter's dtype."""
        self.weight.copy_(weight)


def linears(block: nn.Module, dense: Sequence[str] = ()) -> dict[str, Linear]:
    """The prunable matrices of a block by name: all linear layers except routers, and all expert
    matrices, such as `mlp.experts.7.down_proj`. `dense`: globs of names to exclude."""
    found = {}
    for name, module in block.named_modules():
        if isinstance(module, nn.Linear | Conv1D):  # falcon subclasses Linear: never compare types
            found[name] = Linear(module, transposed=isinstance(module, Conv1D))
        elif is_experts(module):
            for linear in expert_matrices(module):
                found[f"{name}.{linear.expert}.{linear.name}"] = linear
    left = routers(block)
    return {
        name: linear
        for name, linear in found.items()
        if name not in left and not any(matches(name, glob) for glob in dense)
    }


def all_linears(blocks: tuple[str, nn.ModuleList], dense: Sequence[str] = ()) -> dict[str, Linear]:
    """The prunable matrices of all blocks by their full name, such as
    `model.layers.3.mlp.up_proj`. `blocks`: the name of the list of blocks, and the list."""
    name, members = blocks
    return {
        f"{name}.{index}.{linear}": matrix
        for index, block in enumerate(members)
        for linear, matrix in linears(block, dense).items()
    }


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


def is_routed(name: str) -> bool:
    """Whether a linear of this name belongs to an expert, and so sees only part of the tokens."""
    return "experts" in name.split(".")


def routers(block: nn.Module) -> set[str]:
    """Names of the modules that route tokens to experts. They stay dense. A `gate` is a router
    only if its parent has experts."""
    return {
        f"{name}.{child}".lstrip(".")
        for name, module in block.named_modules()
        for child in ROUTERS
        if hasattr(module, "experts") and hasattr(module, child)
    }


def matches(name: str, pattern: str) -> bool:
    """Whether a glob matches a name inside a block. `mlp` also matches `mlp.up_proj`; `mlp|fc1`
    matches either."""
    return any(fnmatch(name, p) or fnmatch(name, f"{p}.*") for p in pattern.split("|"))


def refuse_unprunable(block: nn.Module, block_name: str, left_dense: list[str]) -> None:
    """Raise if a block has a matrix outside any linear layer (a convolution, experts of an unknown
    layout). If it silently stayed dense, the reported sparsity would be wrong."""
    prunable = {id(linear.parameter) for linear in linears(block).values()}
    biases = {
        id(parameter)
        for module in block.modules()
        if is_experts(module)
        for parameter in module.parameters(recurse=False)
        if parameter.dim() == 2
    }
    dense = routers(block)
    for name, parameter in block.named_parameters():
        if parameter.dim() < 2 or id(parameter) in prunable | biases:
            continue
        if any(name.startswith(f"{router}.") for router in dense):
            continue
        if not any(matches(name, pattern) for pattern in left_dense):
            raise RequestError(
                f"{block_name}.{name} {tuple(parameter.shape)} is outside any linear layer and "
                f"cannot be pruned yet; to keep it dense, set 'model.dense=[\"{name}\"]'"
            )
