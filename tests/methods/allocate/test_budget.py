"""The zeros of an allocation are those of the model's sparsity, less than one weight per row
fewer."""

from __future__ import annotations

import random

import pytest
import torch

from dsnot_exp.methods.allocate.budget import bisected, exact, mean_by_group, share
from dsnot_exp.methods.allocation import Site
from dsnot_exp.methods.patterns import Unstructured


def model(seed: int, layers: int = 12) -> dict[str, Site]:
    draw = random.Random(seed)
    return {
        f"b.{i // 3}.{i}": Site(f"b.{i // 3}", draw.randint(8, 90), draw.randint(8, 90))
        for i in range(layers)
    }


def zeros(found: dict[str, Unstructured], sites: dict[str, Site], scope: str) -> int:
    """Counted in masks."""
    draw = torch.Generator().manual_seed(0)
    total = 0
    for layer, pattern in found.items():
        site = sites[layer]
        scores = torch.rand(site.rows, site.width, generator=draw)
        total += int((~pattern.mask(scores, scope)).sum())
    return total


@pytest.mark.parametrize("sparsity", [0.0, 0.1, 0.5, 0.7, 0.9, 0.95])
@pytest.mark.parametrize("scope", ["row", "matrix"])
def test_the_total_is_exact_and_the_bounds_are_kept(sparsity: float, scope: str) -> None:
    for seed in range(4):
        sites, draw = model(seed), random.Random(seed + 9)
        wished = {layer: draw.uniform(-0.5, 1.5) for layer in sites}
        found = exact(wished, sites, sparsity, most=0.95)
        wanted = sparsity * sum(site.weights for site in sites.values())
        rows = max(site.rows for site in sites.values())
        # At the bound itself a row of `width` weights cannot lose 95 % of them.
        slack = sum(s.rows for s in sites.values()) if sparsity == 0.95 else rows
        assert wanted - slack < zeros(found, sites, scope) <= wanted + 1e-6
        assert all(0 <= pattern.sparsity <= 0.95 for pattern in found.values())


def test_wishes_that_fit_are_kept_to_a_weight_per_row() -> None:
    sites = {"a": Site("b", 30, 100), "c": Site("b", 30, 100)}
    found = exact({"a": 0.41, "c": 0.79}, sites, 0.6, 0.95)
    assert {layer: round(p.sparsity, 6) for layer, p in found.items()} == {"a": 0.41, "c": 0.79}


def test_a_layer_without_a_wish_gets_the_models_sparsity() -> None:
    sites = model(1)
    wished = {layer: i / 20 for i, layer in enumerate(sites)}
    odd = next(iter(sites))
    del wished[odd]
    found = exact(wished, sites, 0.6, 0.95)
    assert found[odd] == Unstructured(0.6)
    assert list(found) == list(sites)


@pytest.mark.parametrize("width", [7, 49, 576, 4096, 11008])
def test_a_share_prunes_the_same_number_of_every_row_and_of_the_matrix(width: int) -> None:
    site = Site("b", 300, width)
    for count in range(0, width, max(1, width // 97)):
        found = share(count, site)
        assert int(width * found) == count
        assert int(site.weights * found) == count * site.rows


def test_a_rising_function_reaches_the_wanted_value() -> None:
    assert bisected(lambda x: x**3, 8, 0, 5) == pytest.approx(2)


def test_the_layers_of_a_block_share_their_mean() -> None:
    sites = {"a": Site("x", 1, 1), "b": Site("x", 1, 1), "c": Site("y", 1, 1)}
    values = {"a": 1.0, "b": 3.0, "c": 5.0}
    assert mean_by_group(values, sites, "block") == {"a": 2, "b": 2, "c": 5}
    assert mean_by_group(values, sites, "matrix") == values
