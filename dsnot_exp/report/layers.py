"""The errors of a run's layers, by block and by kind of matrix, and the runs that show them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from dsnot_exp.report.runs import Run, in_order, number

IN_BLOCK = re.compile(r"(.*?)\.(\d+)\.(.+)")  # list of blocks, index, name inside the block
OUTSIDE = "layer"  # the kind of a layer outside any block
MOST = 3  # runs in one plot
Map = dict[tuple[int, str], float]  # by block and kind


def place_of(layer: str, index: int = 0) -> tuple[int, str]:
    """The block and the kind of a layer. Experts of a block are of one kind. A layer outside any
    block stands at its index."""
    place = IN_BLOCK.fullmatch(layer)
    if place is None:
        return index, OUTSIDE
    return int(place[2]), re.sub(r"\.\d+\.", ".*.", place[3])


def mean(parts: dict[tuple[int, str], list[float]]) -> Map:
    """Several layers in one cell, such as experts, are averaged."""
    return {cell: round(sum(own) / len(own), 12) for cell, own in parts.items()}


def errors(run: Run, kind: str) -> tuple[Map, Map]:
    """Before and after refinement. kind: `relative` or `expected`"""
    before: dict[tuple[int, str], list[float]] = {}
    after: dict[tuple[int, str], list[float]] = {}
    for index, row in enumerate(run.result["metrics"]["reconstruction"]):
        pair = number(row.get(f"{kind}_before")), number(row.get(f"{kind}_after"))
        if pair[0] is not None and pair[1] is not None:
            place = place_of(str(row.get("layer")), index)
            before.setdefault(place, []).append(pair[0])
            after.setdefault(place, []).append(pair[1])
    return mean(before), mean(after)


def short(kinds: Sequence[str]) -> dict[str, str]:
    """`q_proj` for `self_attn.q_proj`, where that is unambiguous."""
    tails = [kind.rpartition(".")[2] for kind in kinds]
    return {k: t if tails.count(t) == 1 else k for k, t in zip(kinds, tails, strict=True)}


def best(runs: Sequence[Run]) -> list[Run]:
    """For each initializer the refined run with the lowest perplexity; if nothing was refined,
    the run with the lowest."""
    known = [run for run in runs if any(map(bool, errors(run, "expected")))]
    refined = [run for run in known if run.options.get("refine.name") not in (None, "none")]
    found: dict[str, Run] = {}
    for run in sorted(refined or known, key=level):
        found.setdefault(str(run.axis("initializer")), run)
    return [found[name] for name in in_order(list(found))][:MOST]


def level(run: Run) -> float:
    """The perplexity on the first text."""
    texts = run.result["metrics"]["perplexity"]
    known = [run.metric("perplexity", name, "refined") for name in texts]
    return next((value for value in known if value is not None), float("inf"))
