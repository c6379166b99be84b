"""The prunable matrices of a block, and what is refused because it is none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from dsnot_exp.models.kept_dense import setting, starred, why_dense
from dsnot_exp.models.matrix import Linear as Linear
from dsnot_exp.models.matrix import expert_matrices, is_experts
from dsnot_exp.models.routers import below, routers
from dsnot_exp.utils.errors import RequestError
from dsnot_exp.utils.globs import matches as matches


def linears(block: nn.Module, dense: Sequence[str] = ()) -> dict[str, Linear]:
    """The prunable matrices of a block by name: all linear layers except routers and adapters, and
    all expert matrices, such as `mlp.experts.7.down_proj`. A parameter that two layers share is
    listed once. `dense`: globs of names to exclude."""
    found: dict[str, Linear] = {}
    for name, module in block.named_modules():
        if isinstance(module, nn.Linear | Conv1D):  # falcon subclasses Linear: never compare types
            found[name] = Linear(module, transposed=isinstance(module, Conv1D))
        elif is_experts(module):
            for linear in expert_matrices(module):
                found[f"{name}.{linear.expert}.{linear.name}"] = linear
    left, seen = routers(block), set()
    kept = {}
    for name, linear in found.items():
        if below(name, left) or is_adapter(name) or any(matches(name, glob) for glob in dense):
            continue
        if linear.key not in seen:
            seen.add(linear.key)
            kept[name] = linear
    return kept


def owned(members: nn.ModuleList, dense: Sequence[str] = ()) -> list[dict[str, Linear]]:
    """The prunable matrices of each block by name. A parameter that several blocks share (Zamba's
    transformer) belongs to the first of them: it is solved once and counted once."""
    seen: set[tuple[int, int | None]] = set()
    blocks = []
    for block in members:
        own = {n: linear for n, linear in linears(block, dense).items() if linear.key not in seen}
        seen |= {linear.key for linear in own.values()}
        blocks.append(own)
    return blocks


def all_linears(blocks: tuple[str, nn.ModuleList], dense: Sequence[str] = ()) -> dict[str, Linear]:
    """The prunable matrices of all blocks by their full name, such as
    `model.layers.3.mlp.up_proj`. `blocks`: the name of the list of blocks, and the list."""
    name, members = blocks
    return {
        f"{name}.{index}.{linear}": matrix
        for index, own in enumerate(owned(members, dense))
        for linear, matrix in own.items()
    }


def is_routed(name: str) -> bool:
    """Whether a linear of this name belongs to an expert, and so sees only part of the tokens."""
    return "experts" in name.split(".")


def is_adapter(name: str) -> bool:
    """Whether a module or parameter of this name belongs to a LoRA adapter of peft."""
    return any(part.startswith("lora_") for part in name.split("."))


def kept_dense(members: nn.ModuleList, dense: Sequence[str] = ()) -> dict[str, str]:
    """What stays dense by itself, and why: {"*.mamba.conv1d.weight": "depthwise convolution"}.
    `dense`: globs of names that the user keeps dense; they are not listed."""
    return {
        f"*.{starred(name)}": why
        for block in members
        for name, _, why in _outside(block, dense)
        if why is not None
    }


def refuse_unprunable(block: nn.Module, block_name: str, left_dense: Sequence[str]) -> None:
    """Raise if a block has a matrix outside any linear layer (experts of an unknown layout, say)
    that does not stay dense by itself. If it silently did, the reported sparsity would be wrong."""
    name, _, index = block_name.rpartition(".")
    refuse_unprunable_blocks(name, {index: block}, left_dense)


def refuse_unprunable_blocks(
    name: str, members: Mapping[str, nn.Module], dense: Sequence[str], others: Sequence[str] = ()
) -> None:
    """The same for all blocks of the list `name`, in one message. `others`: names of layers that
    must stay dense for another reason; the remedy holds them too."""
    found = {
        (f"{name}.{index}".lstrip("."), matrix): parameter
        for index, block in members.items()
        for matrix, parameter, why in _outside(block, dense)
        if why is None
    }
    if not found:
        return
    (block, first), parameter = next(iter(found.items()))
    several = len({starred(m) for m in [*[matrix for _, matrix in found], *others]}) > 1
    are, them = ("and others are", "them") if several else ("is", "it")
    raise RequestError(
        f"{block}.{first} {tuple(parameter.shape)} {are} outside any linear layer and cannot be "
        f"pruned yet; to keep {them} dense, set {setting([*[m for _, m in found], *others], dense)}"
    )


def _outside(block: nn.Module, dense: Sequence[str]) -> Iterator[tuple[str, Tensor, str | None]]:
    """The parameters in no linear layer that have two or more dimensions, and why each stays dense;
    None: it cannot."""
    prunable = {id(linear.parameter) for linear in linears(block).values()}
    routing = routers(block)
    for name, parameter in block.named_parameters():
        if parameter.dim() < 2 or id(parameter) in prunable:
            continue
        if any(matches(name, glob) for glob in dense):
            continue
        owner, _, own = name.rpartition(".")
        module = block.get_submodule(owner)
        why = "router" if below(name, routing) else why_dense(module, own, parameter)
        if is_adapter(name):
            why = "LoRA adapter"
        elif is_experts(module) and parameter.dim() == 2:
            why = "bias"
        yield name, parameter, why
