"""The corrected target, against least squares on the tokens themselves, in float64."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from dsnot_exp.methods.normal_equations import conjugate_gradient, right_side, shared
from dsnot_exp.methods.patterns import Unstructured
from dsnot_exp.methods.prune.alps import ALPS
from dsnot_exp.methods.prune.sparsegpt import SparseGPT
from dsnot_exp.methods.statistics import Accumulator, InputStatistics, Statistic, Target

NEEDS = SparseGPT.needs | {Statistic.NORMALISED}


def streams(dead: int | None = None) -> tuple[Tensor, ...]:
    """Inputs and residual streams of the sparse and of the dense model, (tokens, ...) each, and a
    weight (out, in)."""
    generator = torch.Generator().manual_seed(0)
    a, h = torch.randn(300, 24, generator=generator), torch.randn(300, 8, generator=generator)
    a = a @ torch.randn(24, 24, generator=generator)
    a_dense = a + 0.3 * a.roll(1, 1) + 0.1 * torch.randn(300, 24, generator=generator)
    h_dense = h + 0.2 * a[:, :8]
    if dead is not None:
        a[:, dead] = 0
    return a, a_dense, h, h_dense, torch.randn(8, 24, generator=generator)


def statistics(a: Tensor, a_dense: Tensor, h: Tensor, h_dense: Tensor, target: Target):  # type: ignore[no-untyped-def]
    accumulator = Accumulator(a.shape[1], NEEDS, a.device)
    accumulator.update(a[None])
    drift, residual = (
        (d.double().T @ a.double() / len(a)).float() for d in (a_dense - a, h_dense - h)
    )
    found = accumulator.finish()
    return replace(
        found,
        target=target,
        drift=drift if target.alpha else None,
        residual_drift=residual if target.beta else None,
    )


def wanted_outputs(
    a: Tensor, a_dense: Tensor, h: Tensor, h_dense: Tensor, weight: Tensor, target: Target
) -> Tensor:
    """(tokens, out), float64"""
    mixed = a + target.alpha * (a_dense - a)
    return (mixed.double() @ weight.double().T) + target.beta * (h_dense - h).double()


@pytest.mark.parametrize("target", [(0.0, 0.0), (0.5, 0.0), (0.0, 0.25), (0.4, 0.3), (1.0, 1.0)])
def test_a_layer_is_fitted_to_the_dense_model_s_outputs(target: tuple[float, float]) -> None:
    *four, weight = streams()
    wanted = wanted_outputs(*four, weight, Target(*target))
    found = statistics(*four, Target(*target))
    problem = shared(found, 0.0)
    mask = torch.rand(weight.shape, generator=torch.Generator().manual_seed(1)) > 0.5
    x = conjugate_gradient(
        problem.gram, right_side(problem, weight, found), torch.zeros_like(weight), mask, 200
    )
    for row, kept in enumerate(mask):
        least = torch.linalg.lstsq(four[0].double()[:, kept], wanted[:, row, None]).solution[:, 0]
        ours = problem.restored(x, weight)[row, kept].double()
        torch.testing.assert_close(ours, least, rtol=1e-3, atol=1e-3)


def error(found: InputStatistics, sparse: Tensor, a: Tensor, wanted: Tensor) -> float:
    return float((a.double() @ sparse.double().T - wanted).square().sum())


@pytest.mark.parametrize("pruner", [SparseGPT(), ALPS()], ids=["sparsegpt", "alps"])
def test_pruners_come_nearer_to_the_target_they_are_given(pruner: SparseGPT | ALPS) -> None:
    *four, weight = streams(dead=3)
    target = Target(0.5, 0.25)
    wanted = wanted_outputs(*four, weight, target)
    corrected, plain = statistics(*four, target), statistics(*four, Target())
    sparse = [
        found.weight.masked_fill(~found.mask, 0)
        for found in (pruner(weight, s, Unstructured(0.5), False) for s in (corrected, plain))
    ]
    assert error(corrected, sparse[0], four[0], wanted) < 0.95 * error(
        plain, sparse[1], four[0], wanted
    )
    assert all(bool(torch.isfinite(one).all()) for one in sparse)


def test_sparsegpt_without_pruning_is_the_optimum() -> None:
    *four, weight = streams()
    target = Target(0.5, 0.25)
    wanted = wanted_outputs(*four, weight, target)
    found = SparseGPT(damping=0.0)(
        weight, statistics(*four, target), Unstructured(0.0), False
    ).weight
    least = torch.linalg.lstsq(four[0].double(), wanted).solution.T
    torch.testing.assert_close(found.double(), least, rtol=1e-3, atol=1e-3)
