"""The guard: a row keeps its new mask only if its measured error fell."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from dsnot_exp.methods.normal_equations import right_side, shared
from dsnot_exp.methods.patterns import Unstructured
from dsnot_exp.methods.prune.sparsegpt import SparseGPT
from dsnot_exp.methods.prune.wanda import Wanda
from dsnot_exp.methods.refine.dsnot.method import DSnoT
from dsnot_exp.methods.refine.guard import guarded
from dsnot_exp.methods.refine.swaps import Swaps
from dsnot_exp.methods.statistics import Statistic, Target
from tests.methods.refine.test_exchange import layer, loss

PATTERN = Unstructured(0.6)


def error(lost: Tensor, gram: Tensor) -> Tensor:
    lost = lost.double()
    return ((lost @ gram.double()) * lost).sum(-1)


@pytest.mark.parametrize("moved", [False, True], ids=["dense values", "moved weights"])
@pytest.mark.parametrize("measure", [Statistic.NORMALISED, Statistic.GRAM, Statistic.SAMPLE])
def test_it_keeps_rows_whose_measured_error_fell(measure: Statistic, moved: bool) -> None:
    weight, statistics = layer(40)
    assert statistics.sample is not None
    on_sample = measure is Statistic.SAMPLE
    gram = statistics.sample.T @ statistics.sample if on_sample else statistics.gram
    assert gram is not None
    fields = {"gram": Statistic.GRAM, "unit_gram": Statistic.NORMALISED, "sample": Statistic.SAMPLE}
    used = replace(statistics, **{name: None for name, one in fields.items() if one != measure})
    pruner = SparseGPT(block=24) if moved else Wanda()
    initial = pruner(weight, statistics, PATTERN, True)
    refiner = DSnoT(max_cycles=3, only_better="never")
    plain = refiner(weight, initial, statistics, PATTERN, torch.Generator())
    found = guarded(plain, weight, initial, used, measure)
    value = initial.present(weight)
    before, after = (error(weight - value * m, gram) for m in (initial.mask, plain.mask))
    fell = after < before
    assert 0 < int(fell.sum()) < 40
    assert torch.equal(found.mask, torch.where(fell[:, None], plain.mask, initial.mask))
    assert torch.equal(found.swaps, plain.swaps * fell)
    assert torch.equal(found.error_after[~fell], plain.error_before[~fell])
    assert torch.equal(found.error_after[fell], plain.error_after[fell])


@pytest.mark.parametrize("measure", [Statistic.NORMALISED, Statistic.GRAM])
def test_it_measures_towards_the_target_that_swaps_have(measure: Statistic) -> None:
    weight, statistics = layer(40)
    generator = torch.Generator().manual_seed(1)
    drift = torch.randn(24, 24, generator=generator)
    drift[:, 5] = 0
    statistics = replace(statistics, drift=drift, target=Target(1.0, 0.0))
    initial = Wanda()(weight, statistics, PATTERN, True)
    plain = Swaps(damping=1e-6)(weight, initial, statistics, PATTERN, torch.Generator())
    found = guarded(plain, weight, initial, statistics, measure)
    assert torch.equal(found.mask, plain.mask)  # it lowered that error in every row
    problem = shared(statistics, 0.0)
    target = right_side(problem, weight, statistics)
    worse = Swaps()(weight, initial, replace(statistics, drift=None), PATTERN, torch.Generator())
    kept = guarded(worse, weight, initial, statistics, measure)
    scaled = problem.scaled(weight).double()
    losses = [
        loss(scaled * mask, problem.gram.double(), target.double())
        for mask in (initial.mask, worse.mask, kept.mask)
    ]
    assert bool((losses[1] > losses[0]).any())
    assert bool((losses[2] <= losses[0]).all())
