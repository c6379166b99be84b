"""Compares the zeros of two sparse models, block by block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from dsnot_exp.models.linears import Linear

Zeros = dict[str, Tensor]  # of a block, by layer: (out, in) bool, True = zero
HEAD = (
    "method", "equal entries, block 0", "all blocks, mean", "lowest",
    "same inputs, mean", "lowest", "rows of another budget",
    "perplexity, theirs", "ours", "difference",
)  # fmt: skip


def zeros(layers: Mapping[str, Linear]) -> Zeros:
    return {name: layer.weight == 0 for name, layer in layers.items()}


def row(
    name: str,
    theirs: Sequence[Zeros],
    ours: Sequence[Zeros],
    beside: Sequence[Zeros],
    their_perplexity: float,
    our_perplexity: float,
) -> list[str]:
    """The cells of HEAD. `beside`: theirs on the inputs of our blocks; may be empty."""
    alone = [unequal(*pair) for pair in zip(theirs, ours, strict=True)]
    same = [unequal(*pair) for pair in zip(beside, ours, strict=True)] if beside else []
    sizes = [sum(mask.numel() for mask in block.values()) for block in ours]
    compared = beside or theirs
    drifted = sum(other_budget(*pair) for pair in zip(compared, ours, strict=True))
    rows = sum(len(mask) for block in ours for mask in block.values())
    return [
        f"`{name}`",
        share(alone[:1], sizes),
        share(alone, sizes),
        lowest(alone, sizes),
        share(same, sizes),
        lowest(same, sizes),
        f"{drifted} of {rows}",
        f"{their_perplexity:.4f}",
        f"{our_perplexity:.4f}",
        f"{100 * (our_perplexity / their_perplexity - 1):+.2f} %",
    ]


def unequal(theirs: Zeros, ours: Zeros) -> int:
    """Entries that are zero in one of the two only."""
    assert theirs.keys() == ours.keys()
    return sum(int((theirs[name] != mask).sum()) for name, mask in ours.items())


def other_budget(theirs: Zeros, ours: Zeros) -> int:
    """Rows that have another number of zeros."""
    return sum(int((theirs[name].sum(1) != mask.sum(1)).sum()) for name, mask in ours.items())


def share(differing: Sequence[int], sizes: Sequence[int]) -> str:
    """Of the entries that are equal, over all blocks given."""
    if not differing:
        return ""
    return percent(sum(differing), sum(sizes[: len(differing)]))


def lowest(differing: Sequence[int], sizes: Sequence[int]) -> str:
    """The share of the block with the most entries that differ."""
    return percent(*max(zip(differing, sizes, strict=True))) if differing else ""


def percent(differing: int, size: int) -> str:
    """Never rounded up to 100 %; the number of entries that differ is given if it is small."""
    if not differing:
        return "100 %"
    equal = int(1e6 * (size - differing) / size) / 1e4
    return f"{equal:.4f} %" + (f" ({differing})" if differing < 100 else "")
