"""SparseGPT where a column of H is zero or H is hardly definite, and weights of any layout."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from dsnot_exp.methods.patterns import NM, Pattern, Unstructured
from dsnot_exp.methods.prune.sparsegpt import SparseGPT, inverse_factor
from tests.methods.prune.test_sparsegpt import layer, surgeon

DEAD = (3, 17)
ALIVE = [k for k in range(40) if k not in DEAD]


def hessian(gram: Tensor) -> Tensor:
    """H with a one on the diagonal of each dead column, as the released code has it."""
    return gram + torch.diag((gram.diagonal() == 0).to(gram.dtype))


@pytest.mark.parametrize("damping", [0.0, 0.01, 0.3])
@pytest.mark.parametrize("dead", [(), (0,), DEAD, (39,)], ids=str)
def test_a_dead_column_counts_as_a_unit_of_its_own(dead: tuple[int, ...], damping: float) -> None:
    _, statistics = layer(4, 40, dead=dead)
    gram = statistics.gram
    assert gram is not None
    factor, used = inverse_factor(gram, damping)
    assert used == damping
    assert torch.equal(factor, factor.triu())
    whole = hessian(gram.double())
    whole += damping * gram.double().diagonal().mean() * torch.eye(40)
    found = factor.double().T @ factor.double() @ whole
    torch.testing.assert_close(found, torch.eye(40).double(), rtol=0, atol=1e-3)
    for k in dead:
        unit = 1 + damping * float(gram.diagonal().mean())
        assert float(factor[k, k]) == pytest.approx(unit**-0.5, rel=1e-5)
        assert not factor[k, k + 1 :].any()


@pytest.mark.parametrize("pattern", [Unstructured(0.5), NM(2, 4)], ids=str)
def test_without_damping_the_other_columns_are_pruned_as_if_alone(pattern: Pattern) -> None:
    """The dead columns are the cheapest of their block; the rest is the surgeon's."""
    weight, statistics = layer(6, 40, dead=DEAD)
    found = SparseGPT(damping=0.0, block=40)(weight, statistics, pattern, False)
    assert found.note == ""
    assert not found.mask[:, DEAD].any()
    assert torch.isfinite(found.weight).all()
    assert statistics.gram is not None
    zeroed = weight.clone()
    zeroed[:, DEAD] = 0
    span = 40 if isinstance(pattern, Unstructured) else 4
    mask, updated = surgeon(zeroed, hessian(statistics.gram), pattern, span, 0.0)
    assert torch.equal(found.mask, mask)
    torch.testing.assert_close(
        found.weight[:, ALIVE].double(), updated[:, ALIVE], rtol=1e-3, atol=1e-3
    )


def test_what_a_dead_column_held_does_not_matter() -> None:
    weight, statistics = layer(6, 40, dead=DEAD)
    other = weight.clone()
    other[:, DEAD] = 1e6
    first, second = (SparseGPT()(w, statistics, Unstructured(0.5), False) for w in (weight, other))
    assert torch.equal(first.mask, second.mask)
    assert torch.equal(first.weight[:, ALIVE], second.weight[:, ALIVE])
    assert not second.weight[:, DEAD].any()


def test_an_input_that_is_dead_throughout_is_no_error() -> None:
    weight, statistics = layer(4, 8, dead=tuple(range(8)))
    found = SparseGPT(damping=0.0)(weight, statistics, Unstructured(0.5), False)
    assert int((~found.mask).sum()) == 16
    assert not found.weight.any()


def test_the_damping_that_helped_is_told_and_only_then() -> None:
    weight, statistics = layer(6, 40)
    assert statistics.gram is not None
    shift = 0.05 * statistics.gram.diagonal().mean() * torch.eye(40)
    broken = replace(statistics, gram=statistics.gram - shift, derived={})
    for damping, told in ((0.0001, True), (1.0, False)):
        found = SparseGPT(damping=damping)(weight, broken, NM(2, 4), False)
        assert bool(found.note) == told
        broken = replace(broken, derived={})


def test_each_attempt_damps_ten_times_as_much_as_the_one_before() -> None:
    gram = torch.diag(torch.tensor([-0.05, 1.0, 1.0, 1.0]))  # mean of the diagonal: 0.7375
    for first, needed in ((0.1, 0.1), (0.01, 0.1), (0.001, 0.1), (0.0001, 0.1)):
        assert inverse_factor(gram, first)[1] == pytest.approx(needed)
    with pytest.raises(ArithmeticError):
        inverse_factor(gram, 0.00001)
    with pytest.raises(ArithmeticError):
        inverse_factor(gram, 0.0)


def test_layers_of_one_input_may_differ_in_their_damping() -> None:
    weight, statistics = layer(6, 40)
    found = {}
    for damping in (0.01, 10.0, 0.01):
        alone = SparseGPT(damping=damping)(weight, layer(6, 40)[1], Unstructured(0.5), False)
        found[damping] = SparseGPT(damping=damping)(weight, statistics, Unstructured(0.5), False)
        assert torch.equal(found[damping].weight, alone.weight)
    assert not torch.equal(found[0.01].weight, found[10.0].weight)


def test_a_weight_that_is_stored_as_in_by_out_is_left_alone() -> None:
    """As in GPT-2's layers, where the transposed weight is contiguous."""
    weight, statistics = layer(6, 40, dead=DEAD)
    stored = weight.T.contiguous()
    before = stored.clone()
    found = SparseGPT()(stored.T, statistics, NM(2, 4), False)
    assert torch.equal(stored, before)
    assert torch.equal(found.weight, SparseGPT()(weight, statistics, NM(2, 4), False).weight)


def test_a_block_may_be_one_column() -> None:
    weight, statistics = layer(10, 20)
    found = SparseGPT(block=1)(weight, statistics, Unstructured(0.3), False)
    assert ((~found.mask).sum(0) == 3).all()
    assert statistics.gram is not None
    mask, _ = surgeon(weight, statistics.gram, Unstructured(0.3), 1, 0.01)
    assert torch.equal(found.mask, mask)
