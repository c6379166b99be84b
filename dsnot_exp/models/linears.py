"""The prunable matrices of a block, always seen as `weight: (out, in)`.

GPT-2's `Conv1D` and gpt_oss' experts keep a weight as (in, out); it is transposed here and
nowhere else. The experts of one layer are slices of 3-D parameters, (experts, out, in).
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
    name: str = "weight"  # of the parameter in the module
    transposed: bool = False
    expert: int | None = None

    @property
    def parameter(self) -> Tensor:
        return self.module.get_parameter(self.name)

    @property
    def weight(self) -> Tensor:
        """(out, in): the parameter itself, or a view of it."""
        weight = self.parameter.data
        if self.expert is not None:
            weight = weight[self.expert]
        return weight.T if self.transposed else weight

    def write(self, weight: Tensor) -> None:
        """Put `weight: (out, in)` in place, in the parameter's own dtype."""
        self.weight.copy_(weight)


def linears(block: nn.Module, dense: Sequence[str] = ()) -> dict[str, Linear]:
    """The prunable matrices of a block by name: every linear layer that is not a router, and those
    of every expert, such as `mlp.experts.7.down_proj`. `dense`: globs of what to leave out."""
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


def is_experts(module: nn.Module) -> bool:
    """Whether a module holds experts as 3-D parameters, as transformers 5 does, and says in which
    orientation."""
    return hasattr(module, "is_transposed") and any(
        p.dim() == 3 for p in module.parameters(recurse=False)
    )


def expert_matrices(module: nn.Module) -> Iterator[Linear]:
    matrices = [(n, p) for n, p in module.named_parameters(recurse=False) if p.dim() == 3]
    for expert in range(matrices[0][1].shape[0]):
        for name, _ in matrices:
            yield Linear(module, name, bool(module.is_transposed), expert)


def is_routed(name: str) -> bool:
    """Whether a linear of this name belongs to an expert, so that it sees a part of the tokens."""
    return "experts" in name.split(".")


def routers(block: nn.Module) -> set[str]:
    """The modules that choose among experts: they stay dense. A `gate` beside no experts is an
    ordinary layer."""
    return {
        f"{name}.{child}".lstrip(".")
        for name, module in block.named_modules()
        for child in ROUTERS
        if hasattr(module, "experts") and hasattr(module, child)
    }


def matches(name: str, pattern: str) -> bool:
    """Whether a name inside a block is meant by a glob: `mlp` means `mlp.up_proj` too, and
    `mlp|fc1` either."""
    return any(fnmatch(name, p) or fnmatch(name, f"{p}.*") for p in pattern.split("|"))


def refuse_unprunable(block: nn.Module, block_name: str, left_dense: list[str]) -> None:
    """Refuse matrices in a block that are in no linear layer (convolutions, experts of an unknown
    layout): left dense in silence, they would make the reported sparsity a lie."""
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
                f"{block_name}.{name} {tuple(parameter.shape)} is in no linear layer and cannot be "
                f"pruned yet; to leave it dense on purpose: 'model.dense=[\"{name}\"]'"
            )
