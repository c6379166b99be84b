"""Find a model's blocks: the list of decoder layers that the walk visits."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from torch import nn
from transformers.pytorch_utils import Conv1D

from dsnot_exp.utils.errors import RequestError

NOT_ONCE = (
    "its forward calls its blocks more or less than once each; "
    "this model cannot be walked block by block"
)
NOT_ENTERED = (
    "its forward does not go through the blocks in order; name another list with model.blocks="
)
NOT_SEQUENCES = (
    "its blocks' inputs are not (sequences, tokens, hidden); "
    "this model cannot be walked block by block"
)
NOT_ALONE = (
    "its blocks pass on more than their hidden states; this model cannot be walked block by block"
)
# Parts of a wrapper that read something else than text.
OTHER_SENSES = re.compile(r"vision|visual|image|audio|speech|sound|video")


def find_blocks(model: nn.Module, path: str | None = None) -> tuple[str, nn.ModuleList]:
    """The name and the ModuleList of a causal language model's blocks.

    If `path` (the option `model.blocks`) is given, it names the list, such as `model.layers`.
    Otherwise it is the list whose members' classes appear in the model's `_no_split_modules`, or,
    if its class names none, the list of as many members as the configuration states. Inside a
    wrapper of several models it is the language model's.
    """
    family = type(model).__name__
    lists = {n: m for n, m in model.named_modules() if isinstance(m, nn.ModuleList) and len(m)}
    if path is not None:
        if path not in lists:
            raise RequestError(
                f"model.blocks={path}: {family} has no such list of blocks; "
                f"choose from {', '.join(_outermost(lists))}"
            )
        return path, lists[path]
    if getattr(model.config, "is_encoder_decoder", False):
        raise RequestError(f"{family} is an encoder-decoder; decoder-only models are supported")
    whole = set(getattr(model, "_no_split_modules", None) or ())
    found = [n for n, m in lists.items() if all(type(b).__name__ in whole for b in m)]
    if not found and getattr(type(model), "_no_split_modules", None) is None:
        found = [n for n in _outermost(lists) if _complete(model, lists[n])]
    found = _language(model, found)
    if len(found) != 1:
        raise RequestError(
            f"{family}: found {len(found)} candidate lists of blocks; "
            f"choose one with model.blocks= from {', '.join(_outermost(lists))}"
        )
    return found[0], lists[found[0]]


def refuse_shared_parameters(blocks: tuple[str, nn.ModuleList]) -> None:
    """Raise if a block has a parameter of an earlier one (Zamba's transformer): blocks that are
    read from disk one at a time cannot share."""
    owner: dict[int, int] = {}
    for index, block in enumerate(blocks[1]):
        for name, parameter in block.named_parameters():
            first = owner.setdefault(id(parameter), index)
            if first != index:
                raise RequestError(
                    f"model.streaming=true: {blocks[0]}.{index}.{name} is also block {first}'s, "
                    "and blocks that share weights cannot be streamed; choose model.streaming=false"
                )


def _complete(model: nn.Module, members: nn.ModuleList) -> bool:
    """Whether a list has as many members as the model has layers, with linear layers in each."""
    config: Any = model.config
    count = getattr(config.get_text_config(), "num_hidden_layers", None)
    return len(members) == count and all(
        any(isinstance(m, nn.Linear | Conv1D) for m in member.modules()) for member in members
    )


def _language(model: nn.Module, found: list[str]) -> list[str]:
    """Of several lists, those of the language model: not those of images and sound."""
    if len(found) < 2:
        return found
    text = [name for name in found if not OTHER_SENSES.search(name)]
    decoder = getattr(model, "get_decoder", lambda: model)()
    inside = {id(module) for module in decoder.modules()} if decoder is not None else set()
    return [name for name in text if id(model.get_submodule(name)) in inside] or text


def _outermost(lists: Iterable[str]) -> list[str]:
    """The lists that are not inside another list: blocks, not experts."""
    names = list(lists)
    return [n for n in names if not any(n.startswith(f"{other}.") for other in names)]
