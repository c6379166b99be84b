"""From the sparsities that an allocator wishes to patterns with exactly the model's total.

A row of `width` weights loses a whole number of them, the same in every row of a layer. So the
zeros of the model equal its total up to less than one weight per row.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from dsnot_exp.methods.allocation import Site
from dsnot_exp.methods.patterns import Pattern, Unstructured

HALVINGS = 100  # of an interval, until its ends are neighbouring floats


def exact(
    wished: Mapping[str, float], sites: Mapping[str, Site], sparsity: float, most: float
) -> dict[str, Pattern]:
    """The pattern of every layer of `sites`: `wished`, all moved by the same amount, within [0,
    most]. The zeros of the layers in `wished` are `sparsity` of their weights, less than one weight
    per row fewer; a layer that is not in `wished` gets `sparsity`.
    """
    own = {layer: sites[layer] for layer in wished}
    total = int(sparsity * sum(site.weights for site in own.values()) + 1e-6)
    most_of_row = {layer: int(most * site.width + 1e-9) for layer, site in own.items()}
    caps = {layer: most_of_row[layer] / own[layer].width for layer in own}
    targets = moved(wished, own, total, caps)
    # Weights per row: rounded down, then up again where most was lost, while the total allows it.
    counts = {layer: int(targets[layer] * site.width + 1e-9) for layer, site in own.items()}
    left = total - sum(counts[layer] * site.rows for layer, site in own.items())
    lost = {layer: targets[layer] * own[layer].width - counts[layer] for layer in own}
    for layer in sorted(own, key=lambda layer: -lost[layer]):
        site = own[layer]
        if left >= site.rows and counts[layer] < most_of_row[layer]:
            counts[layer] += 1
            left -= site.rows
    found = {layer: Unstructured(share(counts[layer], own[layer])) for layer in own}
    return {layer: found.get(layer, Unstructured(sparsity)) for layer in sites}


def moved(
    wished: Mapping[str, float],
    sites: Mapping[str, Site],
    total: float,
    caps: Mapping[str, float],
) -> dict[str, float]:
    """`wished`, all moved by the same amount, between 0 and each layer's cap, so that `total`
    weights are zero."""

    def at(shift: float) -> dict[str, float]:
        return {layer: min(max(s + shift, 0.0), caps[layer]) for layer, s in wished.items()}

    def zeros(shift: float) -> float:
        return sum(s * sites[layer].weights for layer, s in at(shift).items())

    span = 1 + max(map(abs, wished.values()), default=0)
    return at(bisected(zeros, total, -span, span))


def bisected(rising: Callable[[float], float], wanted: float, low: float, high: float) -> float:
    """Where a function that never falls reaches `wanted`, in [low, high]."""
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < wanted else (low, middle)
    return high


def share(count: int, site: Site) -> float:
    """The sparsity at which a pattern prunes `count` weights of every row, and as many in all where
    it compares over the whole matrix; both are rounded down."""
    found = count / site.width
    while int(site.width * found) < count or int(site.weights * found) < count * site.rows:
        found = math.nextafter(found, 1)
    return found


def groups(layers: Mapping[str, object], sites: Mapping[str, Site], by: str) -> dict[str, str]:
    """What the sparsity of each layer is shared with: its block, or nothing but itself."""
    return {layer: sites[layer].block if by == "block" else layer for layer in layers}


def mean_by_group(
    values: Mapping[str, float], sites: Mapping[str, Site], by: str
) -> dict[str, float]:
    """Each layer's value, or the mean over the layers of its block."""
    group = groups(values, sites, by)
    found: dict[str, list[float]] = {}
    for layer, value in values.items():
        found.setdefault(group[layer], []).append(value)
    return {layer: math.fsum(found[group[layer]]) / len(found[group[layer]]) for layer in values}
