"""Reconstruction on a fixed mask, against a solve per row in float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from dsnot_exp.methods.patterns import Unstructured
from dsnot_exp.methods.prune.wanda import Wanda
from dsnot_exp.methods.reconstruct.admm import ADMM
from dsnot_exp.methods.reconstruct.cg import ConjugateGradients
from dsnot_exp.methods.reconstruct.lstsq import LeastSquares
from tests.methods.prune.test_sparsegpt import layer

METHODS = [LeastSquares(), ConjugateGradients(), ADMM()]


def solved(weight: Tensor, mask: Tensor, gram: Tensor) -> Tensor:
    weight, gram = weight.double(), gram.double()
    gram = gram + 0.01 * gram.diagonal().diag()
    found = torch.zeros_like(weight)
    for row, kept, out in zip(weight, mask, found, strict=True):
        out[kept] = torch.linalg.solve(gram[kept][:, kept], (gram @ row)[kept])
    return found


def loss(residual: Tensor, gram: Tensor) -> Tensor:
    return ((residual.double() @ gram.double()) * residual.double()).sum(1)


@pytest.mark.parametrize("method", [LeastSquares(), ConjugateGradients(steps=200)], ids=repr)
def test_it_is_the_least_squares_solution(method: Any) -> None:
    weight, statistics = layer(12, 48)
    mask = Wanda()(weight, statistics, Unstructured(0.5), True).mask
    mask[3, :20] = False  # another budget
    assert statistics.gram is not None
    found = method(weight, weight * mask, mask, statistics)
    wanted = solved(weight, mask, statistics.gram)
    torch.testing.assert_close(found.double(), wanted, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_no_rows_error_rises_and_pruned_stay_zero(method: Any, dtype: torch.dtype) -> None:
    weight, statistics = layer(16, 48, dead=(7,))
    weight = weight.to(dtype)
    mask = Wanda()(weight, statistics, Unstructured(0.5), True).mask
    mask[0, 7] = True
    found = method(weight, weight * mask, mask, statistics)
    assert statistics.gram is not None
    before, after = (
        loss(weight - weight * mask, statistics.gram),
        loss(weight - found, statistics.gram),
    )
    assert found.dtype == dtype
    assert not found[~mask].any()
    assert found[0, 7] == weight[0, 7]  # nothing is known of it
    assert bool((after <= before).all())
    assert float(after.sum()) < 0.7 * float(before.sum())
    again = method(weight, found, mask, statistics)
    assert bool((loss(weight - again, statistics.gram) <= after * (1 + 1e-6)).all())
    assert method(weight, weight * mask, mask, None).equal(weight * mask)
