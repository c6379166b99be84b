"""The modules that route tokens to experts. They and everything below them stay dense."""

from __future__ import annotations

import re
from collections.abc import Collection

from torch import nn

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
ROUTERS = ("gate", "router", "shared_expert_gate")
# Classes of routers, such as MixtralTopKRouter, JetMoeTopKGating and HunYuanMoEV1Gate.
ROUTER_CLASS = re.compile(r"Router|TopK|Topk|Gating|MoE\w*Gate$|Moe\w*Gate$")


def routers(block: nn.Module) -> set[str]:
    """Names of a block's routers. A layer called `gate` or `router` is one only beside experts; a
    module whose class is a router's, or a `router` with layers of its own, always is."""
    return {
        name for name, module in block.named_modules() if name and _is_router(block, name, module)
    }


def _is_router(block: nn.Module, name: str, module: nn.Module) -> bool:
    parent, _, own = name.rpartition(".")
    if ROUTER_CLASS.search(type(module).__name__) and not has_experts(module):
        return True
    if own == "router" and any(True for _ in module.children()):
        return True
    return own in ROUTERS and has_experts(block.get_submodule(parent))


def has_experts(module: nn.Module) -> bool:
    """Whether experts are among the module's own members: by name, or as 3-D parameters."""
    members = {name for name, _ in module.named_children()}
    if any("experts" in name for name in members) or hasattr(module, "experts"):
        return True
    return any(p.dim() == 3 for child in module.children() for p in _matrices(child))


def _matrices(module: nn.Module) -> list[nn.Parameter]:
    """A convolution's weight has three dimensions too, and is none of an expert."""
    return [] if isinstance(module, CONVOLUTIONS) else list(module.parameters(recurse=False))


def below(name: str, modules: Collection[str]) -> bool:
    """Whether a module or parameter is one of `modules`, or is inside one."""
    parts = name.split(".")
    return any(".".join(parts[:end]) in modules for end in range(1, len(parts) + 1))
