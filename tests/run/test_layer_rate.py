"""The time of methods on layers, from measured squares."""

from __future__ import annotations

import pytest
import torch

from dsnot_exp.methods.patterns import parse
from dsnot_exp.methods.prune.alps import ALPS
from dsnot_exp.methods.prune.magnitude import Magnitude
from dsnot_exp.methods.prune.sparsegpt import SparseGPT
from dsnot_exp.methods.prune.wanda import Wanda
from dsnot_exp.methods.reconstruct.cg import ConjugateGradients
from dsnot_exp.methods.refine.dsnot.method import DSnoT
from dsnot_exp.methods.statistics import Target
from dsnot_exp.run import layer_rate
from dsnot_exp.run.layer_rate import LayerRates, interpolated, size_like
from dsnot_exp.walk.recipe import Recipe

HALF, CPU = parse("unstructured", 0.5), torch.device("cpu")
RECIPES = {
    "magnitude": Recipe(HALF, Magnitude()),
    "wanda, 2:4, budget chosen": Recipe(parse("2:4", None), Wanda(), DSnoT(max_cycles="auto")),
    "alps+cg, dense stream": Recipe(
        HALF, ALPS(), reconstructor=ConjugateGradients(), target=Target(0.5, 0.25)
    ),
}


def rates(recipe: Recipe) -> LayerRates:
    return LayerRates(recipe, torch.float32, CPU, sampled=16)


@pytest.mark.parametrize("name", RECIPES)
def test_every_kind_of_recipe_is_timed_phase_by_phase(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layer_rate, "REPEATS", 1)
    found = rates(RECIPES[name])
    found.measure(largest=64, seconds=10)
    ((first, again),) = found.points.values()
    assert {*first} == {*again} == {"prune", "refine", "reconstruct", "rest"}
    assert found.layer(64, 64) == pytest.approx(sum(first.values()))
    assert found.layer(64, 64, again=True) == pytest.approx(sum(again.values()))


def test_sizes_grow_while_the_time_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def measured(self: LayerRates, size: int) -> tuple[dict[str, float], dict[str, float]]:
        sizes.append(size)
        return {"rest": 1.0}, {"rest": 1.0}

    monkeypatch.setattr(LayerRates, "_measured", measured)
    rates(RECIPES["magnitude"]).measure(largest=2100, seconds=10)
    assert sizes == [256, 512, 1024, 2048]  # halves of the largest; multiples of 64
    sizes.clear()
    rates(RECIPES["magnitude"]).measure(largest=2100, seconds=0)
    assert sizes == [256]  # at least one


def test_a_gram_matrix_decides_how_the_time_grows() -> None:
    """One operation per weight; or products with a matrix of the input's width, and its
    factorisation, which is made once per input."""
    assert size_like(100, 400, square=False) == 200
    assert size_like(300, 300, square=True) == pytest.approx(300)
    assert size_like(100, 400, square=True) ** 3 == pytest.approx(400**2 * 250)
    assert size_like(100, 400, square=True, again=True) ** 3 == pytest.approx(400**2 * 100)
    found = rates(Recipe(HALF, SparseGPT(), DSnoT(max_cycles=5), relative_error="false"))
    of = {"prune": 1.0, "refine": 1.0, "reconstruct": 0.0, "rest": 0.0}
    found.points = {128: (of, {**of, "prune": 0.5})}
    assert found.layer(256, 256) == pytest.approx(2**3 + 2**2)
    assert found.layer(256, 256, again=True) == pytest.approx(0.5 * 2**3 + 2**2)


def test_values_between_and_beyond_measured_sizes() -> None:
    known = {128: 1.0, 256: 4.0}
    assert [interpolated(known, size, 3) for size in (64, 128, 256)] == [1, 1, 4]
    assert interpolated(known, 1024, 4) == 4 * 4**3  # the slope is 2
    assert interpolated(known, 128 * 2**0.5, 3) == pytest.approx(2)
    steep, flat = {128: 1.0, 256: 16.0}, {128: 1.0, 256: 1.0}
    assert interpolated(steep, 512, 3) == 16 * 2**3
    assert interpolated(flat, 1024, 3) == 4**1.5
    assert interpolated({128: 1.0}, 256, 3) == 2**3
    assert interpolated({128: 0.0, 256: 0.0}, 200, 2) < 1e-6
