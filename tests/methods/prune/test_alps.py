"""ALPS against ADMM with explicit multipliers and exact least squares, in float64."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from dsnot_exp.methods import normal_equations
from dsnot_exp.methods.layer_error import relative_errors
from dsnot_exp.methods.patterns import NM, Pattern, Unstructured
from dsnot_exp.methods.protocols import Initial
from dsnot_exp.methods.prune import alps
from dsnot_exp.methods.prune.alps import ALPS
from dsnot_exp.methods.prune.sparsegpt import SparseGPT
from dsnot_exp.methods.statistics import InputStatistics
from tests.methods.prune.test_sparsegpt import layer

PATTERNS: list[Pattern] = [Unstructured(0.5), Unstructured(0.8), NM(2, 4), NM(3, 8)]
DEAD = (3, 17)


def kept(scores: Tensor, pattern: Pattern) -> Tensor:
    groups = scores.unflatten(1, (-1, pattern.m)) if isinstance(pattern, NM) else scores.flatten()
    order = groups.sort(dim=-1, stable=True).indices
    zeros = order[..., : int(order.shape[-1] * pattern.sparsity)]
    return torch.ones_like(groups, dtype=torch.bool).scatter(-1, zeros, False).view_as(scores)


def admm(weight: Tensor, gram: Tensor, pattern: Pattern, full: bool) -> tuple[Tensor, Tensor]:
    """Mask and updated weight, (out, in) each, with d, V and rho as in the paper."""
    gram, eye = gram.double(), torch.eye(len(gram)).double()
    norm = gram.diagonal().sqrt()
    gram = gram / norm / norm[:, None] + 0.01 * eye
    dense = weight.double() * norm
    target = dense @ gram
    rho, support = 0.1, kept(dense.abs(), pattern)
    d = dense * support
    multipliers = rho * (dense - d)
    before = support
    for step in range(300 if full else 20):
        if full and step and step % 3 == 0:
            changed, before = float((support != before).sum() / support.sum()), support
            if changed == 0:
                break
            rho *= 1.3 if changed > 0.1 else 1.2 if changed > 0.005 else 1.1
        if not full and step in (5, 10, 15):
            rho *= 1.8
        x = (target + rho * d - multipliers) @ torch.linalg.inv(gram + rho * eye)
        support = kept((x + multipliers / rho).abs(), pattern)
        d = (x + multipliers / rho) * support
        multipliers = multipliers + rho * (x - d)
    updated = torch.zeros_like(dense)
    for row, on in enumerate(support):
        updated[row, on] = torch.linalg.solve(gram[on][:, on], target[row, on])
    return support, updated / norm


def lost(weight: Tensor, found: Initial, statistics: InputStatistics) -> float:
    """||(W - W^)X||^2 / ||WX||^2"""
    sparse = found.weight.masked_fill(~found.mask, 0)
    return relative_errors(weight, (sparse, sparse), statistics, "true")[1][0] or 0.0


@pytest.mark.parametrize("schedule", ["short", "full"])
@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
def test_it_is_admm_with_multipliers(pattern: Pattern, schedule: str) -> None:
    weight, statistics = layer(12, 40)
    before = weight.clone()
    found = ALPS(schedule=schedule, cg_steps=60)(weight, statistics, pattern, False)
    assert statistics.gram is not None
    mask, updated = admm(weight, statistics.gram, pattern, schedule == "full")
    assert torch.equal(found.mask, mask)
    torch.testing.assert_close(found.weight.double(), updated, rtol=1e-3, atol=1e-3)
    assert torch.equal(weight, before)
    assert found.moved
    assert not found.weight[~found.mask].any()


@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
def test_its_error_is_far_below_sparsegpts(pattern: Pattern) -> None:
    weight, statistics = layer(48, 192)
    short, full, other = (
        lost(weight, method(weight, statistics, pattern, False), statistics)
        for method in (ALPS(), ALPS(schedule="full"), SparseGPT())
    )
    assert short < 0.6 * other
    assert full < 0.6 * other


@pytest.mark.parametrize("steps", [0, 3])
def test_conjugate_gradients_lower_the_error_of_the_same_mask(steps: int) -> None:
    weight, statistics = layer(48, 192)
    few, more = (
        ALPS(cg_steps=count)(weight, statistics, Unstructured(0.7), False) for count in (steps, 20)
    )
    assert torch.equal(few.mask, more.mask)
    assert lost(weight, more, statistics) < lost(weight, few, statistics)


@pytest.mark.parametrize("equal_rows", [False, True])
@pytest.mark.parametrize("sparsity", [0.0, 0.001, 0.37, 0.5, 0.999])
def test_the_budget_of_the_matrix_is_exact_and_rows_differ(
    sparsity: float, equal_rows: bool
) -> None:
    weight, statistics = layer(20, 60)
    weight[:5] *= 4
    mask = ALPS()(weight, statistics, Unstructured(sparsity), equal_rows).mask
    assert int((~mask).sum()) == int(1200 * sparsity)
    if sparsity == 0.5:
        assert int(mask[:5].sum()) > 5 * 30


def test_a_matrix_with_more_weights_than_the_sample_has_an_exact_budget_too() -> None:
    weight, statistics = layer(700, 200)  # every third weight is in the sample
    found = ALPS(cg_steps=2)(weight, statistics, Unstructured(0.63), False)
    assert int((~found.mask).sum()) == int(140000 * 0.63)
    other = SparseGPT()(weight, statistics, Unstructured(0.63), False)
    assert lost(weight, found, statistics) < lost(weight, other, statistics)


@pytest.mark.parametrize("pattern", [NM(2, 4), NM(3, 8), NM(1, 5)], ids=str)
def test_n_of_every_m_are_kept(pattern: NM) -> None:
    weight, statistics = layer(10, 80, dead=DEAD)
    mask = ALPS()(weight, statistics, pattern, False).mask
    assert (mask.unflatten(1, (-1, pattern.m)).sum(-1) == pattern.n).all()


@pytest.mark.parametrize("schedule", ["short", "full"])
@pytest.mark.parametrize("damping", [0.0, 0.01])
def test_dead_columns_go_first_and_change_nothing_else(schedule: str, damping: float) -> None:
    weight, statistics = layer(6, 40, dead=DEAD)
    other = weight.clone()
    other[:, DEAD] = 1e6
    method = ALPS(schedule=schedule, damping=damping)
    first, second = (method(w, statistics, Unstructured(0.1), False) for w in (weight, other))
    assert not first.mask[:, DEAD].any()
    assert torch.equal(first.mask, second.mask)
    assert torch.equal(first.weight, second.weight)
    assert torch.isfinite(first.weight).all()


def test_an_input_that_is_dead_throughout_is_no_error() -> None:
    weight, statistics = layer(4, 8, dead=tuple(range(8)))
    found = ALPS(damping=0.0)(weight, statistics, Unstructured(0.5), False)
    assert int((~found.mask).sum()) == 16
    assert torch.equal(found.weight, weight * found.mask)


@pytest.mark.parametrize("schedule", ["short", "full"])
@pytest.mark.parametrize("pattern", [Unstructured(0.6), NM(2, 4)], ids=str)
def test_bfloat16_products_find_as_good_a_mask(
    pattern: Pattern, schedule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    weight, statistics = layer(384, 128)
    errors, masks = [], []
    for halved in (False, True):
        for module in (alps, normal_equations):
            monkeypatch.setattr(module, "multiplies_bfloat16", lambda *_, halved=halved: halved)
        found = ALPS(schedule=schedule)(weight, statistics, pattern, False)
        errors.append(lost(weight, found, statistics))
        masks.append(found.mask)
    assert errors[1] < 1.01 * errors[0]
    assert 0 < int((masks[0] != masks[1]).sum()) < 0.1 * masks[0].numel()


def test_half_precision_weights_are_worked_on_in_float32() -> None:
    weight, statistics = layer(12, 96)
    half = ALPS()(weight.bfloat16(), statistics, Unstructured(0.5), False)
    whole = ALPS()(weight.bfloat16().float(), statistics, Unstructured(0.5), False)
    assert half.weight.dtype == torch.bfloat16
    assert torch.equal(half.mask, whole.mask)
    assert torch.equal(half.weight, whole.weight.bfloat16())


def test_a_weight_that_is_stored_as_in_by_out_is_left_alone() -> None:
    weight, statistics = layer(6, 40)
    stored = weight.T.contiguous()
    before = stored.clone()
    found = ALPS()(stored.T, statistics, NM(2, 4), False)
    assert torch.equal(stored, before)
    again = ALPS()(weight, statistics, NM(2, 4), False)
    assert torch.equal(found.mask, again.mask)


@pytest.mark.parametrize(("schedule", "factored", "solved"), [("short", 12, 0), ("full", 0, 1)])
def test_what_layers_of_one_input_share(
    schedule: str, factored: int, solved: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four penalties for each of three layers, or the eigenvectors once. Only Hn is kept."""
    counts = {"cholesky_ex": 0, "eigh": 0}
    for name in counts:
        real = getattr(torch.linalg, name)

        def counted(*args, name=name, real=real, **more):  # type: ignore[no-untyped-def]
            counts[name] += 1
            return real(*args, **more)

        monkeypatch.setattr(torch.linalg, name, counted)
    weight, statistics = layer(6, 40)
    for _ in range(3):
        ALPS(schedule=schedule, iterations=20)(weight, statistics, NM(2, 4), False)
    assert counts == {"cholesky_ex": factored, "eigh": solved}
    assert len(statistics.derived) == solved


@pytest.mark.parametrize("schedule", ["short", "full"])
@pytest.mark.parametrize("kind", ["nan", "infinity", "not positive"])
def test_a_gram_matrix_that_cannot_be_factored_is_named(kind: str, schedule: str) -> None:
    weight, statistics = layer(6, 40)
    gram = statistics.unit_gram
    assert gram is not None
    if kind == "not positive":
        gram = 3 * gram  # its diagonal is 1 and the damping, whatever it was
    else:
        gram = gram.clone()
        gram[3, 5] = gram[5, 3] = float("nan") if kind == "nan" else float("inf")
    broken = replace(statistics, unit_gram=gram, derived={})
    with pytest.raises(ArithmeticError, match=r"not positive definite, .*; raise prune\.damping"):
        ALPS(schedule=schedule)(weight, broken, Unstructured(0.5), False)


def test_only_the_short_schedule_lets_processes_share_out_the_rows() -> None:
    assert ALPS().rows == "independent"
    assert ALPS(schedule="full").rows == "together"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"schedule": "long"}, "schedule=long: choose from short, full"),
        ({"iterations": 0}, "iterations=0: expected 1 or more"),
        ({"penalty": 0.0}, "penalty=0.0: expected more than 0"),
        ({"penalty": float("nan")}, "penalty=nan"),
        ({"damping": -1.0}, "damping=-1.0"),
        ({"damping": float("inf")}, "damping=inf"),
        ({"cg_steps": -1}, "cg_steps=-1: expected 0 or more"),
    ],
)
def test_its_options_are_checked(options: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ALPS(**options)  # type: ignore[arg-type]
