"""The linear layers of a block, always seen as `weight: (out, in)`.

GPT-2's `Conv1D` keeps its weight as (in, out); it is transposed here and nowhere else.
"""

from __future__ import annotations

from fnmatch import fnmatch

from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from dsnot_exp.errors import RequestError

ROUTERS = ("gate", "router", "shared_expert_gate")


def is_linear(module: nn.Module) -> bool:
    """falcon subclasses Linear, so never compare types."""
    return isinstance(module, nn.Linear | Conv1D)


def get_weight(module: nn.Module) -> Tensor:
    """The weight as (out, in): the parameter itself, or a transposed view of it."""
    weight = module.get_parameter("weight").data
    return weight.T if isinstance(module, Conv1D) else weight


def set_weight(module: nn.Module, weight: Tensor) -> None:
    """Write `weight: (out, in)` in place, in the parameter's own dtype."""
    get_weight(module).copy_(weight)


def routers(block: nn.Module) -> set[str]:
    """The modules that choose among experts: they stay dense. A `gate` beside no experts is an
    ordinary layer."""
    return {
        f"{name}.{child}".lstrip(".")
        for name, module in block.named_modules()
        for child in ROUTERS
        if hasattr(module, "experts") and hasattr(module, child)
    }


def linears(block: nn.Module) -> dict[str, nn.Module]:
    """The prunable layers of a block by name: every linear that is not a router."""
    dense = routers(block)
    return {
        name: module
        for name, module in block.named_modules()
        if is_linear(module) and name not in dense
    }


def matches(name: str, pattern: str) -> bool:
    """Whether a name inside a block is meant by a glob: `mlp` means `mlp.up_proj` too, and
    `mlp|fc1` either."""
    return any(fnmatch(name, p) or fnmatch(name, f"{p}.*") for p in pattern.split("|"))


def refuse_unprunable(block: nn.Module, block_name: str, left_dense: list[str]) -> None:
    """Refuse matrices in a block that are in no linear layer (experts, convolutions): left dense
    in silence, they would make the reported sparsity a lie."""
    modules = [*linears(block), *routers(block)]
    known = {f"{name}.{p}" for name in modules for p in ("weight", "bias")}
    for name, parameter in block.named_parameters():
        if parameter.dim() < 2 or name in known:
            continue
        if not any(matches(name, pattern) for pattern in left_dense):
            raise RequestError(
                f"{block_name}.{name} {tuple(parameter.shape)} is in no linear layer and cannot be "
                f"pruned yet; to leave it dense on purpose: 'model.dense=[\"{name}\"]'"
            )
