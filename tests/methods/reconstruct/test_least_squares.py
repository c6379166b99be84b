"""Reconstruction under a fixed mask, against a solve per row in float64."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from dsnot_exp.methods.patterns import NM, Unstructured
from dsnot_exp.methods.prune.alps import ALPS
from dsnot_exp.methods.prune.wanda import Wanda
from dsnot_exp.methods.reconstruct.admm import ADMM
from dsnot_exp.methods.reconstruct.cg import ConjugateGradients
from dsnot_exp.methods.reconstruct.lstsq import LeastSquares
from dsnot_exp.methods.statistics import InputStatistics
from tests.methods.prune.test_sparsegpt import layer

METHODS = [LeastSquares(), ConjugateGradients(), ADMM()]
HALF = Unstructured(0.5)


def solved(weight: Tensor, mask: Tensor, gram: Tensor) -> Tensor:
    weight, gram = weight.double(), gram.double()
    gram = gram + 0.01 * gram.diagonal().diag()
    found = torch.zeros_like(weight)
    for row, kept, out in zip(weight, mask, found, strict=True):
        out[kept] = torch.linalg.solve(gram[kept][:, kept], (gram @ row)[kept])
    return found


def loss(residual: Tensor, statistics: InputStatistics) -> Tensor:
    assert statistics.gram is not None
    return ((residual.double() @ statistics.gram.double()) * residual.double()).sum(1)


@pytest.mark.parametrize(
    "method", [LeastSquares(), ConjugateGradients(steps=200), ADMM(steps=600)], ids=repr
)
def test_with_enough_steps_it_is_the_least_squares_solution(method: Any) -> None:
    weight, statistics = layer(12, 48)
    mask = Wanda()(weight, statistics, HALF, True).mask
    mask[3, :20] = False  # another budget
    mask[5] = True  # for which the dense weight is best
    mask[7] = False
    assert statistics.gram is not None
    found = method(weight, weight * mask, mask, statistics)
    wanted = solved(weight, mask, statistics.gram)
    torch.testing.assert_close(found.double(), wanted, rtol=2e-3, atol=2e-3)
    assert torch.equal(found[5], weight[5])
    assert not found[7].any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_no_rows_error_rises_and_pruned_stay_zero(method: Any, dtype: torch.dtype) -> None:
    weight, statistics = layer(16, 48, dead=(7,))
    weight = weight.to(dtype)
    mask = Wanda()(weight, statistics, HALF, True).mask
    mask[0, 7] = True
    found = method(weight, weight * mask, mask, statistics)
    before, after = (loss(weight - w, statistics) for w in (weight * mask, found))
    assert found.dtype == dtype
    assert not found[~mask].any()
    assert found[0, 7] == weight[0, 7]  # nothing is known of it
    assert bool((after <= before).all())
    assert float(after.sum()) < 0.7 * float(before.sum())
    again = method(weight, found, mask, statistics)
    assert bool((loss(weight - again, statistics) <= after * (1 + 1e-6)).all())


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_it_takes_up_weights_that_the_pruner_has_moved(method: Any) -> None:
    weight, statistics = layer(16, 48)
    start = ALPS(cg_steps=0)(weight, statistics, NM(2, 4), False)
    found = method(weight, start.weight, start.mask, statistics)
    before, after = (loss(weight - w, statistics) for w in (start.weight, found))
    assert bool((after <= before * (1 + 1e-6)).all())
    assert float(after.sum()) < float(before.sum())


def test_the_damping_does_not_raise_an_error_that_is_least_already() -> None:
    """A large damping draws the weights to their dense values, away from the least squares."""
    weight, statistics = layer(16, 48)
    mask = Wanda()(weight, statistics, HALF, True).mask
    best = LeastSquares(damping=0)(weight, weight * mask, mask, statistics)
    for method in (LeastSquares(3), ConjugateGradients(3), ADMM(3)):
        assert torch.equal(method(weight, best, mask, statistics), best)


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_an_expert_without_statistics_keeps_its_weights(method: Any) -> None:
    sparse = torch.randn(3, 8)
    assert method(sparse, sparse, sparse > 0, None) is sparse


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_a_solve_that_fails_names_the_remedy(method: Any) -> None:
    weight, statistics = layer(6, 40)
    assert statistics.unit_gram is not None
    gram = statistics.unit_gram.clone()
    gram[3, 5] = gram[5, 3] = float("nan")
    broken = replace(statistics, unit_gram=gram)
    mask = torch.ones_like(weight, dtype=torch.bool)
    with pytest.raises(ArithmeticError, match=r"; raise reconstruct\.damping or calib\.samples"):
        method(weight, weight * mask, mask, broken)


def test_rows_are_solved_in_several_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    weight, statistics = layer(16, 48)
    mask = Wanda()(weight, statistics, HALF, True).mask
    whole = [method(weight, weight * mask, mask, statistics) for method in METHODS]
    monkeypatch.setattr("dsnot_exp.methods.reconstruct.fixed_mask.ENTRIES", 5 * 48)
    monkeypatch.setattr("dsnot_exp.methods.reconstruct.lstsq.ENTRIES", 2 * 24**2)
    parts = [method(weight, weight * mask, mask, statistics) for method in METHODS]
    torch.testing.assert_close(parts, whole, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("method", "options"),
    [
        (LeastSquares, {"damping": -1.0}),
        (ConjugateGradients, {"damping": float("nan")}),
        (ConjugateGradients, {"steps": 0}),
        (ADMM, {"steps": 0}),
        (ADMM, {"rho": 0.0}),
        (ADMM, {"rho": float("inf")}),
    ],
)
def test_its_options_are_checked(method: Any, options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"^{next(iter(options))}="):
        method(**options)
