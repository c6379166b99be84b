"""Says in words what is wrong with a result: a refined model worse than the pruned one, or a
sparsity that was not asked for."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from dsnot_exp.utils.words import percent

Stages = Mapping[str, Any]
WORSE = "the refined model is worse than the pruned one"
OFF = 0.001  # sparsities that differ by less count as equal


def where_off(
    asked: Any, allocator: str, targets: Mapping[str, Any], weights: Mapping[str, int]
) -> list[str]:
    """One sentence if an allocator's sparsities do not amount to the one that was asked for.
    targets: by layer its sparsity, or N:M, which the pattern implies; weights: their numbers"""
    given = {layer: share for layer, share in targets.items() if isinstance(share, float)}
    total = sum(weights.get(layer, 0) for layer in given)
    if asked is None or not total or len(given) < len(targets):
        return []
    mean = sum(share * weights.get(layer, 0) for layer, share in given.items()) / total
    if abs(mean - asked) <= OFF:
        return []
    return [f"the sparsities of allocate={allocator} amount to {mean:.4f}, not {asked:g}"]


def where_worse(metrics: Mapping[str, Mapping[str, Stages]]) -> list[str]:
    """One sentence per data set, and one for the tasks together, where `refined` is worse than
    `pruned`. metrics: perplexity, zero_shot -> data set or task -> stage -> value"""
    return [*_perplexities(metrics["perplexity"]), *_accuracy(metrics["zero_shot"])]


def _perplexities(found: Mapping[str, Stages]) -> Iterator[str]:
    for name, stages in found.items():
        pruned, refined = stages.get("pruned"), stages.get("refined")
        if pruned is not None and refined is not None and refined > pruned:
            yield f"{WORSE}: perplexity of {name} {pruned:.4g} -> {refined:.4g}"


def _accuracy(found: Mapping[str, Stages]) -> Iterator[str]:
    """Single tasks are noisy: their mean counts, if it falls by more than its standard error."""
    pairs = [
        (stages["pruned"], stages["refined"])
        for stages in found.values()
        if all("acc" in stages.get(stage, {}) for stage in ("pruned", "refined"))
    ]
    if not pairs:
        return
    pruned, refined = (sum(pair[i]["acc"] for pair in pairs) / len(pairs) for i in (0, 1))
    squares = sum(float(after.get("acc_stderr") or 0) ** 2 for _, after in pairs)
    error = math.sqrt(squares) / len(pairs)
    if refined < pruned - error:
        yield (
            f"{WORSE}: mean accuracy of {len(pairs)} task{'s' if len(pairs) > 1 else ''} "
            f"{percent(pruned)} -> {percent(refined)}"
        )
