"""Find a model's blocks: the list of decoder layers that the walk visits."""

from __future__ import annotations

from torch import nn

from dsnot_exp.utils.errors import RequestError


def find_blocks(model: nn.Module, path: str | None = None) -> tuple[str, nn.ModuleList]:
    """The name and the ModuleList of a causal language model's blocks.

    If `path` (the option `model.blocks`) is given, it names the list, such as `model.layers`.
    Otherwise it is the list whose members' classes appear in the model's `_no_split_modules`.
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
    found = {n: m for n, m in lists.items() if all(type(b).__name__ in whole for b in m)}
    if len(found) != 1:
        raise RequestError(
            f"{family}: found {len(found)} candidate lists of blocks; "
            f"choose one with model.blocks= from {', '.join(_outermost(lists))}"
        )
    return next(iter(found.items()))


def _outermost(lists: dict[str, nn.ModuleList]) -> list[str]:
    """The lists that are not inside another list: blocks, not experts."""
    return [n for n in lists if not any(n.startswith(f"{other}.") for other in lists)]
