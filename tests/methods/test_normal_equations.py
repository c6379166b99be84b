"""Normalised Gram matrices, their inverse, and conjugate gradients, against float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dsnot_exp.methods import normal_equations
from dsnot_exp.methods.gram import to_unit_diagonal
from dsnot_exp.methods.normal_equations import (
    Normalised,
    conjugate_gradient,
    inverse,
)

DEAD = (3, 17)


def problem(width: int = 40, dead: tuple[int, ...] = (), damping: float = 0.01) -> Normalised:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(200, width // 2, generator=generator)
    inputs = inputs @ torch.randn(width // 2, width, generator=generator)
    inputs += 0.1 * torch.randn(200, width, generator=generator)
    inputs *= torch.logspace(-4, 3, width)  # channels of very different size
    inputs[:, list(dead)] = 0
    gram = inputs.T @ inputs / 200
    scale = to_unit_diagonal(gram)
    gram.diagonal().add_(damping)
    return Normalised(gram, scale)


def drawn(rows: int = 12, width: int = 40) -> tuple[Tensor, Tensor]:
    """A weight and a mask, (rows, width)."""
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(rows, width, generator=generator)
    return weight, torch.rand(rows, width, generator=generator) > 0.5


def error(gram: Tensor, x: Tensor, dense: Tensor) -> Tensor:
    """(x - dense) Hn (x - dense)^T, (rows,), float64."""
    lost = (x - dense).double()
    return ((lost @ gram.double()) * lost).sum(1)


def exact(gram: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """The solution of x Hn = B on the mask, one row at a time, in float64."""
    x = torch.zeros(target.shape, dtype=torch.float64)
    for row, kept in enumerate(mask):
        matrix = gram.double()[kept][:, kept]
        x[row, kept] = torch.linalg.solve(matrix, target[row, kept].double())
    return x


@pytest.mark.parametrize("dead", [(), DEAD], ids=str)
def test_every_column_has_unit_length_and_dead_ones_touch_no_other(dead: tuple[int, ...]) -> None:
    found = problem(dead=dead, damping=0.5)
    assert torch.equal(found.gram.diagonal(), torch.full((40,), 1.5))
    assert (found.scale == 0).nonzero()[:, 0].tolist() == list(dead)
    torch.testing.assert_close(found.gram, found.gram.T)
    others = found.gram - 1.5 * torch.eye(40)
    assert not others[list(dead)].any()
    assert (others.abs() <= 1.0001).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_restored_undoes_scaled_and_keeps_what_dead_columns_hold(dtype: torch.dtype) -> None:
    found, weight = problem(dead=DEAD), drawn()[0].to(dtype)
    scaled = found.scaled(weight)
    assert not scaled[:, DEAD].any()
    restored = found.restored(scaled, weight)
    assert restored.dtype == dtype
    torch.testing.assert_close(restored, weight)
    assert torch.equal(restored[:, DEAD], weight[:, DEAD])


@pytest.mark.parametrize("penalty", [0.1, 3.2])
def test_the_inverse_is_one_and_leaves_its_matrix_alone(penalty: float) -> None:
    gram = problem(dead=DEAD).gram
    before = gram.clone()
    product = inverse(gram, penalty).double() @ (gram.double() + penalty * torch.eye(40))
    torch.testing.assert_close(product, torch.eye(40).double(), rtol=0, atol=1e-4)
    assert torch.equal(gram, before)


@pytest.mark.parametrize("entry", [5.0, float("nan"), float("inf")])
def test_a_matrix_that_is_not_positive_is_refused(entry: float) -> None:
    gram = problem().gram
    gram[3, 5] = gram[5, 3] = entry
    with pytest.raises(ArithmeticError, match=r"with damping 0\.11; raise prune\.damping"):
        inverse(gram, 0.1)


def test_conjugate_gradients_lower_the_error_step_by_step_to_the_least_squares() -> None:
    found, (weight, mask) = problem(dead=DEAD), drawn()
    dense = found.scaled(weight)
    target = dense @ found.gram
    least = error(found.gram, exact(found.gram, target, mask), dense)
    before = error(found.gram, dense * mask, dense)
    for steps in (0, 1, 2, 5, 10, 20, 100):
        x = conjugate_gradient(found.gram, target, dense, mask, steps)
        after = error(found.gram, x, dense)
        assert not x[~mask].any()
        assert (after <= before * (1 + 1e-6)).all()
        before = after
    torch.testing.assert_close(after, least, rtol=1e-3, atol=0)


def test_bfloat16_products_lose_little_and_nothing_after_more_steps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found, (weight, mask) = problem(dead=DEAD), drawn()
    dense = found.scaled(weight)
    target = dense @ found.gram
    errors: dict[bool, list[Tensor]] = {}
    for rough in (False, True):
        monkeypatch.setattr(normal_equations, "multiplies_bfloat16", lambda *_, rough=rough: rough)
        errors[rough] = [
            error(found.gram, conjugate_gradient(found.gram, target, dense, mask, steps), dense)
            for steps in (0, 3, 10, 100)
        ]
    assert torch.equal(errors[True][0], errors[False][0])
    for rough, fine in zip(errors[True], errors[False], strict=True):
        assert float(rough.sum()) <= 1.03 * float(fine.sum())
        assert (rough <= errors[True][0]).all()
    torch.testing.assert_close(errors[True][3], errors[False][3], rtol=1e-4, atol=0)
    assert not torch.equal(errors[True][1], errors[False][1])


def test_in_as_many_steps_as_kept_weights_the_solution_is_exact() -> None:
    found, (weight, mask) = problem(damping=1.0), drawn()
    mask[:, 3:] = False
    mask[0, :3] = False  # a row that keeps nothing
    target = found.scaled(weight) @ found.gram
    x = conjugate_gradient(found.gram, target, torch.zeros_like(weight), mask, 3)
    wanted = exact(found.gram, target, mask).float()
    torch.testing.assert_close(x, wanted, rtol=1e-4, atol=1e-4 * float(wanted.abs().max()))
    assert not x[0].any()


def test_any_target_and_start_will_do() -> None:
    """The right side need not come from a dense weight; only the start on the mask counts."""
    found, (target, mask) = problem(damping=0.3), drawn()
    start = 100 * drawn()[0]
    other = start.masked_fill(~mask, 1e9)
    x = conjugate_gradient(found.gram, target, start, mask, 60)
    assert torch.equal(x, conjugate_gradient(found.gram, target, other, mask, 60))
    wanted = exact(found.gram, target, mask)
    torch.testing.assert_close(x.double(), wanted, rtol=1e-3, atol=1e-3)


def test_a_row_that_has_converged_or_meets_a_negative_direction_stays() -> None:
    gram = torch.diag(torch.tensor([1.0, 1.0, -1.0]))
    start = torch.tensor([[2.0, 3.0, 0.0], [0.0, 0.0, 5.0]])
    target = torch.tensor([[2.0, 3.0, 0.0], [0.0, 0.0, 1.0]])
    mask = torch.tensor([[True, True, False], [False, False, True]])
    assert torch.equal(conjugate_gradient(gram, target, start, mask, 8), start)
