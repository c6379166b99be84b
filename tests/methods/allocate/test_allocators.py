"""Each allocator against its formula, written out slowly."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from dsnot_exp.methods.allocate.alpha import Alpha, hill
from dsnot_exp.methods.allocate.fisher import QUANTILES, Fisher, cheapest, quantiles
from dsnot_exp.methods.allocate.owl import OWL
from dsnot_exp.methods.allocation import Seen, Site
from dsnot_exp.methods.patterns import Pattern, Unstructured
from dsnot_exp.methods.statistics import Accumulator, InputStatistics, Statistic

NEEDS = frozenset({Statistic.GRAM, Statistic.NORMALISED, Statistic.NORM})


def statistics(width: int, seed: int = 0) -> InputStatistics:
    draw = torch.Generator().manual_seed(seed)
    mix = torch.randn(width, width, generator=draw)
    accumulator = Accumulator(width, NEEDS, torch.device("cpu"))
    accumulator.update(torch.randn(4, 50, width, generator=draw) @ mix)
    return accumulator.finish()


def seen(rows: int, width: int, seed: int) -> Seen:
    draw = torch.Generator().manual_seed(seed)
    weight = torch.randn(rows, width, generator=draw)
    return Seen(weight, statistics(width, seed), torch.rand(rows, generator=draw))


def sparsities(found: dict[str, Pattern]) -> dict[str, float]:
    return {layer: pattern.sparsity for layer, pattern in found.items()}


def test_the_saliency_is_the_surgeons_weighted_by_the_gradient() -> None:
    layer, damping = seen(5, 12, 3), 0.01
    assert layer.statistics is not None
    assert layer.gradient is not None
    gram = layer.statistics.gram
    assert gram is not None
    norm = gram.diagonal().sqrt()
    hn = (gram / norm[:, None] / norm).double() + damping * torch.eye(12, dtype=torch.double)
    diagonal = torch.linalg.inv(hn).diagonal()
    wanted = layer.gradient[:, None] * (layer.weight * norm).double() ** 2 / diagonal
    torch.testing.assert_close(Fisher().saliency(layer).double(), wanted, rtol=1e-3, atol=1e-6)


def test_fisher_finds_the_split_of_least_loss() -> None:
    """Of two matrices, every split with the same total is tried."""
    scores = {"a": torch.rand(40, 50) ** 4, "b": 3 * torch.rand(20, 50)}
    sizes = {name: values.numel() for name, values in scores.items()}
    curves = {name: np.array(quantiles(values)) for name, values in scores.items()}
    found = cheapest(curves, sizes, 0.6, 0.3, 0.95)
    total = 0.6 * sum(sizes.values())
    assert sum(found[n] * sizes[n] for n in sizes) == pytest.approx(total, rel=0.01)

    def loss(split: dict[str, float]) -> float:
        return sum(
            float(values.flatten().sort().values[: int(split[name] * sizes[name])].sum())
            for name, values in scores.items()
        )

    tried = [
        {"a": s, "b": (total - s * sizes["a"]) / sizes["b"]} for s in np.arange(0.3, 0.95, 0.01)
    ]
    allowed = [split for split in tried if 0.3 <= split["b"] <= 0.95]
    assert loss(found) <= 1.01 * min(map(loss, allowed))


def test_fisher_takes_half_of_the_step_and_keeps_within_reach() -> None:
    sites = {name: Site("b", 100, 1000) for name in "ab"}
    surveyed = {"a": list(QUANTILES), "b": list(100 + QUANTILES)}  # b costs more throughout
    fishers = {step: Fisher(step=step, reach=0.2) for step in (0.0, 0.5, 1.0)}
    wished = {
        step: sparsities(fisher.allocate(surveyed, sites, Unstructured(0.6)))
        for step, fisher in fishers.items()
    }
    assert wished[0.0] == pytest.approx({"a": 0.6, "b": 0.6})
    assert wished[0.5] == pytest.approx({"a": 0.7, "b": 0.5})
    assert wished[1.0] == pytest.approx({"a": 0.8, "b": 0.4})


def test_fisher_by_block_gives_a_block_one_sparsity() -> None:
    layers = {f"{block}.{i}": seen(20, 24, i) for i, block in enumerate("xxyy")}
    sites = {name: Site(name[0], 20, 24) for name in layers}
    fisher = Fisher(by="block", step=1.0)
    found = sparsities(fisher.allocate(fisher.survey(layers), sites, Unstructured(0.5)))
    for block in "xy":
        own = [s for name, s in found.items() if name[0] == block]
        assert max(own) - min(own) < 2 / 24


def test_fisher_leaves_out_a_layer_without_gradient() -> None:
    layers = {"a": seen(6, 8, 0), "b": Seen(torch.ones(6, 8), statistics(8))}
    assert set(Fisher().survey(layers)) == {"a"}


def test_saliencies_of_nothing_leave_the_sparsities_alike() -> None:
    sites = {name: Site("b", 10, 10) for name in "ab"}
    surveyed = {name: [0.0] * len(QUANTILES) for name in sites}
    assert sparsities(Fisher().allocate(surveyed, sites, Unstructured(0.5))) == {"a": 0.5, "b": 0.5}


@pytest.mark.parametrize("by", ["block", "matrix"])
def test_owl_is_the_papers_map_of_the_share_of_outliers(by: str) -> None:
    layers, owl = {f"{b}.{i}": seen(30, 40, i) for i, b in enumerate("xxyyzz")}, OWL(by=by)
    for i, layer in enumerate(layers.values()):
        layer.weight[:, : 2 * i] *= 20
    sites = {name: Site(name[0], 30, 40) for name in layers}
    surveyed: dict[str, list[float]] = {}
    groups: dict[str, torch.Tensor] = {}
    for block in "xyz":
        own = {name: layer for name, layer in layers.items() if name[0] == block}
        surveyed |= owl.survey(own)
        scores = {n: s.weight.abs() * s.statistics.norm for n, s in own.items()}  # type: ignore[union-attr]
        groups |= {block: torch.cat([*scores.values()])} if by == "block" else scores
    ratios = torch.tensor([float((s > 5 * s.mean()).float().mean()) for s in groups.values()])
    scaled = (ratios - ratios.min()) * 2 * 0.08 / (ratios.max() - ratios.min())
    density = scaled - scaled.mean() + (1 - 0.6)
    wanted = dict(zip(groups, (1 - density).tolist(), strict=True))
    found = sparsities(owl.allocate(surveyed, sites, Unstructured(0.6)))
    for name, sparsity in found.items():
        assert sparsity == pytest.approx(wanted[name[0] if by == "block" else name], abs=1.5 / 40)
    assert len({round(s, 3) for s in found.values()}) > 1


def test_hill_finds_the_exponent_of_a_heavy_tail() -> None:
    """Eigenvalues with density x^-alpha above 1."""
    draw = np.random.default_rng(0)
    for alpha in (2.0, 3.0):
        values = (1 - draw.random(400)) ** (-1 / (alpha - 1))
        weight = torch.from_numpy(np.diag(np.sqrt(values)))
        assert hill(weight) == pytest.approx(alpha, rel=0.15)
    assert hill(torch.eye(5)) == float("inf")
    assert hill(torch.zeros(3, 4)) == float("inf")


def test_alpha_maps_heavier_tails_to_less_sparsity_within_epsilon() -> None:
    sites = {name: Site(name, 50, 1000) for name in "abc"}
    surveyed = {"a": [2.0], "b": [3.0], "c": [4.0]}
    found = sparsities(Alpha().allocate(surveyed, sites, Unstructured(0.6)))
    assert found == pytest.approx({"a": 0.42, "b": 0.6, "c": 0.78}, abs=2e-3)


@pytest.mark.parametrize("allocator", [Fisher(), OWL(), Alpha()], ids=lambda a: type(a).__name__)
def test_the_sparsest_layer_keeps_below_the_cap(allocator: Fisher | OWL | Alpha) -> None:
    layers = {f"{b}.{i}": seen(30, 40, i) for i, b in enumerate("xyz")}
    sites = {name: Site(name[0], 30, 40) for name in layers}
    surveyed = dict(itertools.chain(*(allocator.survey({n: s}).items() for n, s in layers.items())))
    found = sparsities(allocator.allocate(surveyed, sites, Unstructured(0.93)))
    assert max(found.values()) <= 0.95
    assert sum(found.values()) / 3 == pytest.approx(0.93, abs=1 / 40)
