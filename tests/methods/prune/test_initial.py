"""Magnitude and Wanda against their definitions, spelt out with full sorts."""

from __future__ import annotations

import pytest
import torch

from dsnot_exp.methods import registry
from dsnot_exp.methods.patterns import NM, Unstructured
from dsnot_exp.methods.prune.magnitude import Magnitude
from dsnot_exp.methods.prune.wanda import Wanda
from dsnot_exp.methods.statistics import Accumulator
from tests.methods.refine.test_dsnot import layer


def test_wanda_prunes_the_smallest_of_each_row_in_stable_order() -> None:
    weight, statistics = layer(0)
    scores = weight.abs() * statistics.norm
    mask = torch.ones_like(weight, dtype=torch.bool)
    order = scores.sort(dim=1, stable=True).indices[:, : int(48 * 0.6)]
    found = Wanda()(weight, statistics, Unstructured(0.6), False)
    assert torch.equal(found.mask, mask.scatter(1, order, False))
    assert found.weight is weight


def test_wanda_nm_prunes_the_smallest_of_each_group() -> None:
    weight, statistics = layer(0)
    mask = Wanda()(weight, statistics, NM(2, 4), True).mask
    for row, kept in zip((weight.abs() * statistics.norm).tolist(), mask.tolist(), strict=True):
        for start in range(0, 48, 4):
            order = sorted(range(start, start + 4), key=lambda k: row[k])
            assert [k for k in order if not kept[k]] == order[:2]


def test_magnitude_alone_is_thresholded_per_matrix_and_per_row_before_a_refiner() -> None:
    weight = layer(1)[0] * torch.linspace(0.1, 2, 24).unsqueeze(1)
    alone = Magnitude()(weight, None, Unstructured(0.5), equal_rows=False).mask
    before = Magnitude()(weight, None, Unstructured(0.5), equal_rows=True).mask
    flat = weight.abs().flatten()
    smallest = flat.sort(stable=True).indices[: flat.numel() // 2]
    assert torch.equal((~alone).flatten().nonzero()[:, 0], smallest.sort().values)
    assert (before.sum(1) == 24).all()
    assert alone.sum() == before.sum()
    assert not torch.equal(alone, before)
    row = Magnitude(scope="row")(weight, None, Unstructured(0.5), equal_rows=False).mask
    assert torch.equal(row, before)


@pytest.mark.parametrize("name", registry.OURS["prune"])
@pytest.mark.parametrize("given", [{}, {"update_weights": False}], ids=str)
def test_a_pruner_says_before_it_runs_whether_it_moves_weights(
    name: str, given: dict[str, bool]
) -> None:
    kind, options = registry.method("prune", name), registry.options("prune", name)
    pruner = kind(**{key: value for key, value in given.items() if key in options})
    weight, _ = layer(2)
    accumulator = Accumulator(weight.shape[1], pruner.needs, weight.device)
    accumulator.update(torch.randn(4, 32, weight.shape[1]))
    initial = pruner(weight, accumulator.finish(), Unstructured(0.5), equal_rows=False)
    assert getattr(pruner, "moves", False) == initial.moved


def test_magnitude_needs_no_statistics_and_refuses_an_unknown_scope() -> None:
    assert Magnitude.needs == frozenset()
    with pytest.raises(ValueError, match="scope=column: choose from auto, row, matrix"):
        Magnitude(scope="column")
