"""Refiners by exchanges: against all pairs, one exchange at a time, in float64."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from dsnot_exp.methods.normal_equations import right_side, shared
from dsnot_exp.methods.patterns import NM, Pattern, Unstructured, check_budget
from dsnot_exp.methods.protocols import Initial
from dsnot_exp.methods.prune.alps import ALPS
from dsnot_exp.methods.prune.sparsegpt import SparseGPT
from dsnot_exp.methods.prune.wanda import Wanda
from dsnot_exp.methods.refine import exchange, exchange_kernel
from dsnot_exp.methods.refine.moments import Moments
from dsnot_exp.methods.refine.options import BUDGETS
from dsnot_exp.methods.refine.swaps import Swaps
from dsnot_exp.methods.statistics import Accumulator, InputStatistics, Statistic, Target

PATTERNS = [Unstructured(0.6), NM(2, 4), NM(1, 4)]
WIDTH = 24


def layer(out: int = 9, width: int = WIDTH) -> tuple[Tensor, InputStatistics]:
    """A weight and statistics of correlated inputs with a mean; channel 5 is dead."""
    generator = torch.Generator().manual_seed(0)
    mix = torch.randn(width, width, generator=generator)
    inputs = torch.randn(4, 60, width, generator=generator) @ mix + 3 * mix[0]
    inputs[..., 5] = 0
    needs = {Statistic.VAR, Statistic.GRAM, Statistic.NORMALISED, Statistic.SAMPLE}
    accumulator = Accumulator(width, frozenset(needs), torch.device("cpu"))
    accumulator.update(inputs, 20)
    return torch.randn(out, width, generator=generator), accumulator.finish()


def drawn(weight: Tensor, pattern: Pattern) -> Initial:
    """A random mask, far from any optimum."""
    scores = torch.rand(weight.shape, generator=torch.Generator().manual_seed(2))
    return Initial(pattern.mask(scores, "row"), weight, scores)


def problem(
    method: Any, weight: Tensor, initial: Initial, statistics: InputStatistics
) -> tuple[Tensor, Tensor, Tensor]:
    """H, B and v of a refiner, in float64."""
    value = initial.present(weight)
    if isinstance(method, Swaps):
        normal = shared(statistics, method.damping)
        target = right_side(normal, weight, statistics).double()
        return normal.gram.double(), target, normal.scaled(value).double()
    mean, var = statistics.mean.double(), statistics.var.double()
    gram = torch.outer(mean, mean) + var.diag()
    return gram, weight.double() @ gram, value.double()


def loss(x: Tensor, gram: Tensor, target: Tensor) -> Tensor:
    return ((x @ gram) * x - 2 * x * target).sum(-1)


def exchanges(kept: Tensor, pattern: Pattern) -> Iterator[tuple[int, int]]:
    size = pattern.m if isinstance(pattern, NM) else len(kept)
    for p in kept.nonzero()[:, 0].tolist():
        for u in (~kept).nonzero()[:, 0].tolist():
            if p // size == u // size:
                yield p, u


def best(value: Tensor, kept: Tensor, gram: Tensor, target: Tensor, pattern: Pattern) -> Any:
    """The change of the loss by the best exchange of a row, and the exchange."""
    pairs = list(exchanges(kept, pattern))
    others = kept.repeat(len(pairs), 1)
    for other, (p, u) in zip(others, pairs, strict=True):
        other[p], other[u] = False, True
    changes = loss(value * others, gram, target) - loss(value * kept, gram, target)
    least = int(changes.argmin())
    return float(changes[least]), pairs[least]


def energy(value: Tensor, gram: Tensor) -> Tensor:
    return (value.square() * gram.diagonal()).sum(-1)


METHODS = [Swaps(max_swaps=99), Moments(max_swaps=99), Swaps(damping=0.5), Moments(guard=False)]


@pytest.mark.parametrize("native", [True, False], ids=["c", "torch"])
@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
@pytest.mark.parametrize("method", METHODS[:2], ids=["swaps", "moments"])
def test_with_the_whole_row_as_pool_every_exchange_is_the_best(
    method: Any, pattern: Pattern, native: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange_kernel, "available", lambda value: native)
    weight, statistics = layer()
    initial = drawn(weight, pattern)
    gram, target, value = problem(method, weight, initial, statistics)
    wanted, counts = initial.mask.clone(), [0] * 9
    for row, kept in enumerate(wanted):
        while True:
            change, (p, u) = best(value[row], kept, gram, target[row], pattern)
            if change > -1e-6 * float(energy(value[row], gram)):
                break
            kept[p], kept[u] = False, True
            counts[row] += 1
    found = replace(method, pool=WIDTH)(weight, initial, statistics, pattern, torch.Generator())
    check_budget(initial.mask, found.mask, pattern)
    assert torch.equal(found.mask, wanted)
    assert found.swaps.tolist() == counts
    assert sum(counts) > 9
    assert max(counts) > 2


@pytest.mark.parametrize("native", [True, False], ids=["c", "torch"])
@pytest.mark.parametrize("moved", [False, True], ids=["dense values", "moved weights"])
@pytest.mark.parametrize("pool", [1, 3])
@pytest.mark.parametrize("method", METHODS[:2], ids=["swaps", "moments"])
def test_a_row_stops_where_no_exchange_of_all_lowers_its_loss(
    method: Any, pool: int, moved: bool, native: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange_kernel, "available", lambda value: native)
    monkeypatch.setattr(exchange, "ENTRIES", 5 * WIDTH)  # a few weights at a time
    weight, statistics = layer()
    pattern = Unstructured(0.6)
    pruner = SparseGPT(block=WIDTH) if moved else Wanda()
    initial = pruner(weight, statistics, pattern, True)
    found = replace(method, pool=pool)(weight, initial, statistics, pattern, torch.Generator())
    gram, target, value = problem(method, weight, initial, statistics)
    before, after = (loss(value * mask, gram, target) for mask in (initial.mask, found.mask))
    assert bool((after <= before).all())
    assert float((after - before).sum()) < -1e-3
    for row, kept in enumerate(found.mask):
        change, _ = best(value[row], kept, gram, target[row], pattern)
        assert change > -1e-5 * float(energy(value[row], gram))


@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
@pytest.mark.parametrize("method", METHODS[:2], ids=["swaps", "moments"])
def test_the_number_of_swaps_is_a_limit(method: Any, pattern: Pattern) -> None:
    weight, statistics = layer()
    initial = drawn(weight, pattern)
    losses = []
    for most in (0, 1, 3):
        limited = replace(method, max_swaps=most)
        found = limited(weight, initial, statistics, pattern, torch.Generator())
        assert int(found.swaps.max()) == most
        assert torch.equal((found.mask != initial.mask).sum(1) // 2 <= found.swaps,
                           torch.ones(9, dtype=torch.bool))  # fmt: skip
        gram, target, value = problem(method, weight, initial, statistics)
        losses.append(float(loss(value * found.mask, gram, target).sum()))
    assert losses == sorted(losses, reverse=True)
    assert losses[0] > losses[1] > losses[2]


@pytest.mark.parametrize("pattern", PATTERNS[:2], ids=str)
def test_swaps_follow_a_corrected_target(pattern: Pattern) -> None:
    weight, statistics = layer()
    plain = statistics
    generator = torch.Generator().manual_seed(1)
    drift = 20 * torch.randn(WIDTH, WIDTH, generator=generator)
    residual = torch.randn(9, WIDTH, generator=generator)
    drift[:, 5] = residual[:, 5] = 0
    statistics = replace(statistics, drift=drift, residual_drift=residual, target=Target(0.5, 0.25))
    assert Swaps.needs == {Statistic.NORMALISED, Statistic.TARGET}
    initial = Wanda()(weight, statistics, pattern, True)
    found, other = (
        Swaps()(weight, initial, seen, pattern, torch.Generator()) for seen in (statistics, plain)
    )
    gram, target, value = problem(Swaps(), weight, initial, statistics)
    assert statistics.gram is not None
    asked = weight @ statistics.gram + 0.5 * weight @ drift + 0.25 * residual
    normal = shared(statistics, 0.01)
    torch.testing.assert_close(
        target.float() - 0.01 * normal.scaled(weight), normal.divided(asked), rtol=1e-3, atol=1e-3
    )
    losses = [loss(value * m, gram, target) for m in (initial.mask, other.mask, found.mask)]
    assert bool((losses[2] <= losses[0]).all())
    assert float(losses[2].sum()) < float(losses[1].sum())


@pytest.mark.parametrize("native", [True, False], ids=["c", "torch"])
@pytest.mark.parametrize("pattern", PATTERNS[:2], ids=str)
@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_rows_without_a_choice_stay(
    method: Any, pattern: Pattern, native: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row that keeps everything, nothing, or holds only zeros; and half-precision weights."""
    monkeypatch.setattr(exchange_kernel, "available", lambda value: native)
    weight, statistics = layer(4)
    weight[2] = 0
    weight = weight.bfloat16()
    mask = drawn(weight, pattern).mask
    if not isinstance(pattern, NM):
        mask[0], mask[1] = True, False
    initial = Initial(mask, weight, weight.float().abs())
    method = replace(method, max_swaps=9)
    found = method(weight, initial, statistics, pattern, torch.Generator())
    check_budget(mask, found.mask, pattern)
    still = [2] if isinstance(pattern, NM) else [0, 1, 2]
    assert torch.equal(found.mask[still], mask[still])
    assert int(found.swaps[3]) > 0
    assert found.swaps[still].tolist() == [0] * len(still)


@pytest.mark.parametrize("native", [True, False], ids=["c", "torch"])
@pytest.mark.parametrize("pattern", PATTERNS[:2], ids=str)
@pytest.mark.parametrize("method", METHODS[:2], ids=["swaps", "moments"])
def test_a_process_may_have_no_rows(
    method: Any, pattern: Pattern, native: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange_kernel, "available", lambda value: native)
    weight, statistics = layer()
    none = drawn(weight[:0], pattern)
    found = method(weight[:0], none, statistics, pattern, torch.Generator())
    assert found.mask.shape == (0, WIDTH)
    assert found.swaps.shape == found.error_after.shape == (0,)


def test_the_torch_twin_makes_the_same_exchanges(monkeypatch: pytest.MonkeyPatch) -> None:
    weight, statistics = layer(40, 64)
    for pattern in (Unstructured(0.5), NM(2, 4), NM(4, 8)):
        initial = ALPS(iterations=3)(weight, statistics, pattern, True)
        for method in (Swaps(pool=64), Moments(max_swaps=20, pool=64)):
            masks = []
            for native in (True, False):
                monkeypatch.setattr(exchange_kernel, "available", lambda v, native=native: native)
                found = method(weight, initial, statistics, pattern, torch.Generator())
                masks.append(found.mask)
            assert float((masks[0] != masks[1]).float().mean()) < 0.01  # a tie in rounding


def test_a_target_that_is_no_number_names_the_remedy() -> None:
    weight, statistics = layer()
    initial = Wanda()(weight, statistics, Unstructured(0.5), True)
    weight = weight.clone()
    weight[3, 4] = float("nan")
    for method in METHODS[:2]:
        with pytest.raises(ArithmeticError, match=r"NaN or infinity; try model\.dtype=float32"):
            method(weight, initial, statistics, Unstructured(0.5), torch.Generator())


def test_options_are_checked_and_count_swaps() -> None:
    assert (Swaps(max_swaps=0.5).swaps(10), Swaps(max_swaps=3).swaps(10)) == (5, 3)
    assert (Swaps(max_swaps=0.01).swaps(10), Swaps(max_swaps=0).swaps(10)) == (1, 0)
    wrong: list[dict[str, Any]] = [
        {"max_swaps": -1}, {"max_swaps": 1.5}, {"max_swaps": "many"}, {"max_swaps": True},
        {"max_swaps": float("nan")}, {"pool": 0}, {"damping": -1.0}, {"damping": float("inf")},
    ]  # fmt: skip
    for options in wrong:
        (key,) = options
        with pytest.raises(ValueError, match=f"^{key}={options[key]}: expected"):
            Swaps(**options)


def test_auto_leaves_the_number_of_swaps_to_choose() -> None:
    assert Moments().candidates == {str(b): Moments(max_swaps=b) for b in BUDGETS}
    chosen = Swaps(max_swaps="auto", damping=0.1, guard=True).candidates
    assert chosen["5"] == Swaps(max_swaps=5, damping=0.1, guard=True)
    assert Swaps().candidates == Moments(max_swaps=3).candidates == {}
    assert (Moments().guard, Swaps().guard) == (True, False)
