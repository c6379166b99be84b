"""SparseGPT against a direct optimal brain surgeon that inverts anew for every column."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dsnot_exp.methods.layer_error import relative_errors
from dsnot_exp.methods.patterns import NM, Pattern, Unstructured
from dsnot_exp.methods.prune import sparsegpt_kernel
from dsnot_exp.methods.prune.sparsegpt import SparseGPT, inverse_factor, inverse_upper
from dsnot_exp.methods.prune.wanda import Wanda
from dsnot_exp.methods.statistics import Accumulator, InputStatistics, Statistic


def layer(
    out: int, width: int, seed: int = 0, dead: tuple[int, ...] = ()
) -> tuple[Tensor, InputStatistics]:
    """A weight (out, width) and statistics of correlated inputs."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(width, width, generator=generator)
    inputs = torch.randn(8, 40, width // 2, generator=generator) @ mix[: width // 2]
    inputs = inputs + 0.3 * torch.randn(8, 40, width, generator=generator)
    inputs[..., list(dead)] = 0
    needs = SparseGPT.needs | {Statistic.NORMALISED}
    accumulator = Accumulator(width, needs, torch.device("cpu"))
    accumulator.update(inputs)
    return torch.randn(out, width, generator=generator), accumulator.finish()


def surgeon(
    weight: Tensor, gram: Tensor, pattern: Pattern, span: int, damping: float
) -> tuple[Tensor, Tensor]:
    """Mask and updated weight, (out, in) each, in float64, one column at a time."""
    weight, hessian = weight.double(), gram.double()
    width = weight.shape[1]
    hessian = hessian + damping * hessian.diagonal().mean() * torch.eye(width)
    inverses = [torch.linalg.inv(hessian[j:, j:]) for j in range(width)]
    mask = torch.ones_like(weight, dtype=torch.bool)
    for j in range(width):
        if j % span == 0:
            cost = torch.stack([inverses[k][0, 0] for k in range(j, min(j + span, width))])
            scores = weight[:, j : j + span] ** 2 / cost
            order = (scores if isinstance(pattern, NM) else scores.reshape(1, -1)).sort(-1).indices
            count = int(order.shape[1] * pattern.sparsity)
            mask[:, j : j + span] = (
                torch.ones_like(order, dtype=torch.bool)
                .scatter(1, order[:, :count], False)
                .reshape(scores.shape)
            )
        error = torch.where(mask[:, j], 0, weight[:, j]) / inverses[j][0, 0]
        weight[:, j:] -= error[:, None] * inverses[j][0]
        weight[:, j] *= mask[:, j]
    return mask, weight


@pytest.mark.parametrize(
    ("pattern", "width", "block"),
    [
        (Unstructured(0.5), 96, 16),
        (Unstructured(0.7), 100, 24),  # neither the block nor the leaf divides the width
        (Unstructured(0.5), 150, 48),
        (NM(2, 4), 96, 128),
        (NM(1, 4), 100, 128),
        (NM(3, 5), 75, 128),
        (NM(4, 48), 96, 128),
    ],
    ids=str,
)
def test_it_is_the_optimal_brain_surgeon(pattern: Pattern, width: int, block: int) -> None:
    weight, statistics = layer(12, width)
    found = SparseGPT(block=block)(weight.clone(), statistics, pattern, False)
    span = pattern.m if isinstance(pattern, NM) else block
    assert statistics.gram is not None
    mask, updated = surgeon(weight, statistics.gram, pattern, span, 0.01)
    assert torch.equal(found.mask, mask)
    torch.testing.assert_close(found.weight.double(), updated, rtol=1e-3, atol=1e-3)
    assert not found.weight[~found.mask].any()


@pytest.mark.parametrize(
    ("pattern", "block"),
    [(Unstructured(0.5), 128), (Unstructured(0.7), 24), (NM(2, 4), 128), (NM(4, 48), 128)],
    ids=str,
)
def test_the_compiled_columns_are_those_of_tensor_operations(
    pattern: Pattern, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    weight, statistics = layer(45, 144)
    compiled = SparseGPT(block=block)(weight, statistics, pattern, False)
    monkeypatch.setattr(sparsegpt_kernel, "available", lambda weight: False)
    found = SparseGPT(block=block)(weight, statistics, pattern, False)
    assert torch.equal(compiled.mask, found.mask)
    torch.testing.assert_close(compiled.weight, found.weight, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(compiled.scores, found.scores, rtol=1e-3, atol=1e-4)


def test_among_equal_scores_the_leftmost_are_pruned() -> None:
    weight = torch.ones(3, 8)
    inputs = torch.eye(8).repeat(1, 4, 1)
    accumulator = Accumulator(8, SparseGPT.needs, torch.device("cpu"))
    accumulator.update(inputs)
    mask = SparseGPT()(weight, accumulator.finish(), NM(1, 4), False).mask
    assert mask.tolist() == [[False, False, False, True] * 2] * 3


@pytest.mark.parametrize("width", [1, 96, 97, 300])
def test_a_triangular_matrix_is_inverted_by_halves(width: int) -> None:
    generator = torch.Generator().manual_seed(0)
    upper = torch.randn(width, width, generator=generator).triu() + 9 * torch.eye(width)
    expected = torch.linalg.inv(upper.double())
    torch.testing.assert_close(inverse_upper(upper).double(), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("pattern", [Unstructured(0.6), NM(2, 4)], ids=str)
def test_its_layer_error_is_below_wandas(pattern: Pattern) -> None:
    weight, statistics = layer(48, 192)
    errors = []
    for method in (SparseGPT(), SparseGPT(update_weights=False), Wanda()):
        initial = method(weight, statistics, pattern, False)
        sparse = initial.weight.masked_fill(~initial.mask, 0)
        errors.append(relative_errors(weight, (sparse, sparse), statistics, "true")[1][0] or 0.0)
    assert errors[0] < 0.6 * errors[2]
    assert errors[0] < errors[1]


def test_without_the_update_the_mask_is_the_same_and_the_weights_are_dense() -> None:
    weight, statistics = layer(8, 64)
    moved = SparseGPT()(weight, statistics, Unstructured(0.5), False)
    dense = SparseGPT(update_weights=False)(weight, statistics, Unstructured(0.5), False)
    assert torch.equal(moved.mask, dense.mask)
    assert dense.weight is weight
    assert not torch.equal(moved.weight, weight)


def test_budgets_are_exact_in_every_block_and_the_weight_is_left_alone() -> None:
    weight, statistics = layer(10, 160)
    before = weight.clone()
    mask = SparseGPT()(weight, statistics, Unstructured(0.37), False).mask
    assert torch.equal(weight, before)
    assert int((~mask[:, :128]).sum()) == int(1280 * 0.37)
    assert int((~mask[:, 128:]).sum()) == int(320 * 0.37)
    mask = SparseGPT()(weight, statistics, NM(3, 8), False).mask
    assert (mask.unflatten(1, (-1, 8)).sum(-1) == 3).all()


def test_dead_columns_go_first_and_spread_nothing() -> None:
    weight, statistics = layer(6, 40, dead=(3, 17))
    found = SparseGPT(block=40)(weight, statistics, Unstructured(0.1), False)
    assert not found.mask[:, [3, 17]].any()
    assert torch.isfinite(found.weight).all()
    alone = [k for k in range(40) if k not in (3, 17)]
    same = found.mask[:, alone].all(1)
    torch.testing.assert_close(found.weight[same][:, alone], weight[same][:, alone])


def test_half_precision_weights_are_worked_on_in_float32() -> None:
    weight, statistics = layer(12, 96)
    half = SparseGPT()(weight.bfloat16(), statistics, Unstructured(0.5), False)
    whole = SparseGPT()(weight.bfloat16().float(), statistics, Unstructured(0.5), False)
    assert half.weight.dtype == torch.bfloat16
    assert torch.equal(half.mask, whole.mask)
    assert torch.equal(half.weight, whole.weight.bfloat16())


def test_one_factorisation_for_all_layers_of_an_input(monkeypatch: pytest.MonkeyPatch) -> None:
    count = []
    real = torch.linalg.cholesky_ex
    monkeypatch.setattr(torch.linalg, "cholesky_ex", lambda m: count.append(1) or real(m))
    weight, statistics = layer(6, 40)
    for _ in range(3):
        SparseGPT()(weight, statistics, NM(2, 4), False)
    assert len(count) == 1


def test_a_failed_factorisation_raises_the_damping_and_says_so() -> None:
    weight, statistics = layer(6, 40)
    assert statistics.gram is not None
    statistics.gram.sub_(0.05 * statistics.gram.diagonal().mean() * torch.eye(40))
    _, damping = inverse_factor(statistics.gram, 0.001)
    assert damping in (0.01, 0.1, 1.0)
    found = SparseGPT(damping=0.001)(weight, statistics, NM(2, 4), False)
    assert f"damping {damping:g}" in found.note
    with pytest.raises(ArithmeticError, match=r"not positive definite, even with damping 1;"):
        inverse_factor(-statistics.gram, 0.001)


def test_its_options_are_checked() -> None:
    with pytest.raises(ValueError, match="block=0"):
        SparseGPT(block=0)
    with pytest.raises(ValueError, match="damping=-1"):
        SparseGPT(damping=-1)
