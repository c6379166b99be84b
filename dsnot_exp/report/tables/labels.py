"""Row and column labels: the values that differ. Shared values go into the caption."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dsnot_exp.report.tables.groups import Key

Labels = list[tuple[str, ...]]


def labels(
    axes: Sequence[str], keys: Sequence[Key], least: int
) -> tuple[tuple[str, ...], Labels, list[str]]:
    """The labelled axes, the label of every key, and what all keys share. `least`: the number of
    axes to label even if nothing differs."""
    differs = [len({str(key[place]) for key in keys}) > 1 for place in range(len(axes))]
    kept = [place for place, varies in enumerate(differs) if varies]
    kept = kept or list(range(len(axes)))[len(axes) - least :]
    shared = [say(axes[p], keys[0][p]) for p in range(len(axes)) if p not in kept]
    words = [tuple(_show(axes[place], key[place]) for place in kept) for key in keys]
    return tuple(axes[place] for place in kept), words, shared


def say(axis: str, value: Any) -> str:
    """One value as words for the caption."""
    if axis == "seqlen":
        return f"{value} tokens per sequence"
    if axis == "budget":
        return f"{value} sparsity" if "%" in str(value) else f"pattern {value}"
    if axis in ("model", "method", "initializer"):
        return str(value)
    return f"{axis} = {'null' if value is None else value}"


def _show(axis: str, value: Any) -> str:
    if value is None:
        return "no refinement" if axis.startswith("refine.") else "none"
    return str(value)
