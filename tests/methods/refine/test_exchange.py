"""Refiners by exchanges: against all pairs, one at a time, in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dsnot_exp.methods.patterns import NM, Pattern, Unstructured, check_budget
from dsnot_exp.methods.prune.sparsegpt import SparseGPT
from dsnot_exp.methods.prune.wanda import Wanda
from dsnot_exp.methods.refine.dsnot.method import DSnoT
from dsnot_exp.methods.refine.guard import guarded
from dsnot_exp.methods.refine.moments import Moments
from dsnot_exp.methods.refine.swaps import Swaps
from dsnot_exp.methods.statistics import Accumulator, InputStatistics, Statistic

PATTERNS = [Unstructured(0.6), NM(2, 4), NM(1, 4)]


def layer(out: int = 9, width: int = 24) -> tuple[Tensor, InputStatistics]:
    """A weight and statistics of correlated inputs with a mean; channel 5 is dead."""
    generator = torch.Generator().manual_seed(0)
    mix = torch.randn(width, width, generator=generator)
    inputs = torch.randn(4, 60, width, generator=generator) @ mix + mix[0]
    inputs[..., 5] = 0
    needs = frozenset({Statistic.VAR, Statistic.GRAM, Statistic.NORMALISED, Statistic.SAMPLE})
    accumulator = Accumulator(width, needs, torch.device("cpu"))
    accumulator.update(inputs, 20)
    return torch.randn(out, width, generator=generator), accumulator.finish()


def loss(residual: Tensor, gram: Tensor) -> Tensor:
    residual = residual.double()
    return ((residual @ gram.double()) * residual).sum(-1)


def by_hand(weight: Tensor, mask: Tensor, gram: Tensor, pattern: Pattern) -> Tensor:
    """Each row's local optimum by its best exchange of all, again and again."""
    mask = mask.clone()
    size = pattern.m if isinstance(pattern, NM) else weight.shape[1]
    for row, kept in zip(weight, mask, strict=True):
        while True:
            now, best = loss(row * ~kept, gram), (0.0, 0, 0)
            for p in kept.nonzero()[:, 0].tolist():
                for u in (~kept).nonzero()[:, 0].tolist():
                    if p // size != u // size:
                        continue
                    other = kept.clone()
                    other[p], other[u] = False, True
                    best = min(best, (float(loss(row * ~other, gram) - now), p, u))
            if best[0] > -1e-6 * float((row.square() * gram.diagonal()).sum()):
                break
            kept[best[1]], kept[best[2]] = False, True
    return mask


@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
@pytest.mark.parametrize("kind", ["swaps", "moments"])
def test_they_make_the_best_exchange_until_none_is_left(kind: str, pattern: Pattern) -> None:
    weight, statistics = layer()
    initial = Wanda()(weight, statistics, pattern, True)
    mean, var = statistics.mean.double(), statistics.var.double()
    assert statistics.gram is not None
    gram = statistics.gram.double() if kind == "swaps" else torch.outer(mean, mean) + var.diag()
    refiner = Swaps(max_swaps=99, pool=24, damping=0) if kind == "swaps" else Moments(99, pool=24)
    found = refiner(weight, initial, statistics, pattern, torch.Generator())
    check_budget(initial.mask, found.mask, pattern)
    wanted = by_hand(weight.double(), initial.mask, gram, pattern)
    same = (loss(weight * ~wanted, gram), loss(weight * ~found.mask, gram))
    torch.testing.assert_close(*same, rtol=1e-4, atol=1e-4)
    assert bool((loss(weight * ~found.mask, gram) <= loss(weight * ~initial.mask, gram)).all())
    assert int(found.swaps.sum()) > 0


@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
def test_moved_weights_are_exchanged_at_their_present_values(pattern: Pattern) -> None:
    weight, statistics = layer()
    initial = SparseGPT(block=24)(weight, statistics, pattern, True)
    found = Swaps(damping=0)(weight, initial, statistics, pattern, torch.Generator())
    check_budget(initial.mask, found.mask, pattern)
    assert statistics.gram is not None
    value = torch.where(initial.mask, initial.weight, weight)
    before, after = (loss(weight - value * m, statistics.gram) for m in (initial.mask, found.mask))
    assert bool((after <= before * (1 + 1e-5)).all())


@pytest.mark.parametrize("on_gram", [True, False])
def test_the_guard_keeps_rows_whose_measured_error_fell(on_gram: bool) -> None:
    weight, statistics = layer(40)
    assert statistics.gram is not None
    assert statistics.sample is not None
    gram = statistics.gram if on_gram else statistics.sample.T @ statistics.sample
    statistics = statistics
    initial = Wanda()(weight, statistics, Unstructured(0.6), True)
    plain = DSnoT(max_cycles=3)(weight, initial, statistics, Unstructured(0.6), torch.Generator())
    found = guarded(plain, weight, initial, statistics, on_gram)
    fell = loss(weight * ~plain.mask, gram) < loss(weight * ~initial.mask, gram)
    assert 0 < int(fell.sum()) < 40
    assert torch.equal(found.mask, torch.where(fell[:, None], plain.mask, initial.mask))
    assert torch.equal(found.swaps, plain.swaps * fell)
    assert torch.equal(found.error_after[~fell], plain.error_before[~fell])


def test_options_are_checked_and_count_swaps() -> None:
    assert (Swaps(max_swaps=0.5).swaps(10), Swaps(max_swaps=3).swaps(10)) == (5, 3)
    for wrong in ({"max_swaps": -1}, {"max_swaps": 1.5}, {"pool": 0}, {"damping": -1}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Swaps(**wrong)
