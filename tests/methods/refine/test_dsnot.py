"""DSnoT against its slow twin, its budgets, its degenerate inputs, and every criterion."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from dsnot_exp.methods.layer_error import expected_error
from dsnot_exp.methods.patterns import NM, Pattern, Unstructured, check_budget
from dsnot_exp.methods.protocols import Initial, Refined
from dsnot_exp.methods.prune.magnitude import Magnitude
from dsnot_exp.methods.prune.wanda import Wanda
from dsnot_exp.methods.refine.dsnot import backend
from dsnot_exp.methods.refine.dsnot.method import DSnoT
from dsnot_exp.methods.statistics import Accumulator, InputStatistics
from tests.methods.refine import twin
from tests.support.walking import MOMENTS

PATTERNS: list[Pattern] = [
    Unstructured(0.5), Unstructured(0.7), NM(2, 4), NM(4, 8), NM(1, 4), NM(3, 4)
]  # fmt: skip


def layer(seed: int = 0, rows: int = 24, width: int = 48) -> tuple[torch.Tensor, InputStatistics]:
    """A weight (out, in) and statistics of inputs with distinct means and variances. Numbers with
    few bits, so that sums are exact and ties and orders are the same in any precision."""
    g = torch.Generator().manual_seed(seed)
    weight = torch.randint(-64, 65, (rows, width), generator=g) / 64
    mean = torch.randint(-32, 33, (width,), generator=g) / 16
    spread = torch.randint(1, 9, (width,), generator=g) / 4
    noise = torch.randint(0, 2, (6, 16, width), generator=g) * 2.0 - 1
    accumulator = Accumulator(width, MOMENTS, torch.device("cpu"))
    accumulator.update(mean + spread * noise)
    return weight, accumulator.finish()


def refine(
    method: DSnoT, weight: torch.Tensor, initial: Initial, statistics: InputStatistics,
    pattern: Pattern, seed: int = 0,
) -> Refined:  # fmt: skip
    generator = torch.Generator().manual_seed(seed)
    return method(weight, initial, statistics, pattern, generator)


@pytest.mark.parametrize("cycles", [1, 3, 50])
@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
@pytest.mark.parametrize("seed", range(4))
def test_equals_the_slow_twin(seed: int, pattern: Pattern, cycles: int) -> None:
    weight, statistics = layer(seed)
    initial = Wanda()(weight, statistics, pattern, True)
    found = refine(DSnoT(max_cycles=cycles), weight, initial, statistics, pattern)
    mask, errors, swaps = twin.refine(weight, initial, statistics, pattern, cycles)
    assert found.swaps.tolist() == swaps
    assert torch.equal(found.mask, mask)
    torch.testing.assert_close(
        found.error_after, torch.tensor(errors).double(), rtol=1e-5, atol=1e-4
    )
    assert found.swaps.sum() > 0


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("flip", ["always", "never"])
@pytest.mark.parametrize("pattern", [Unstructured(0.6), NM(2, 4)], ids=str)
def test_options_equal_the_slow_twin(pattern: Pattern, flip: str, gamma: float) -> None:
    weight, statistics = layer(9)
    initial = Magnitude()(weight, statistics, pattern, True)
    method = DSnoT(variance_power=gamma, stop_on_sign_flip=flip, update_threshold=2.0)
    found = refine(method, weight, initial, statistics, pattern)
    mask, _, swaps = twin.refine(
        weight, initial, statistics, pattern, 50, 2.0, gamma, flip == "always"
    )
    assert found.swaps.tolist() == swaps
    assert torch.equal(found.mask, mask)


@pytest.mark.parametrize("seed", range(4))
def test_running_on_equals_the_slow_twin_and_keeps_budgets(seed: int) -> None:
    weight, s = layer(seed)
    statistics = replace(s, mean=s.mean.abs() + 0.5)
    weight[:, ::3] *= -1
    weight[:12] = weight[:12].abs() * torch.where(torch.arange(48) % 6 == 0, -1.0, 1.0)
    pattern = Unstructured(0.7)
    initial = Wanda()(weight, statistics, pattern, True)
    stops = refine(DSnoT(), weight, initial, statistics, pattern)
    found = refine(DSnoT(used_up="run_on"), weight, initial, statistics, pattern)
    mask, _, swaps = twin.refine(weight, initial, statistics, pattern, 50, run_on=True)
    assert found.swaps.tolist() == swaps
    assert torch.equal(found.mask, mask)
    assert found.swaps.sum() > stops.swaps.sum()
    check_budget(initial.mask, found.mask, pattern)


@pytest.mark.parametrize("seed", range(4))
def test_running_on_among_equals_takes_no_weight_twice(seed: int) -> None:
    weight, s = layer(seed)
    statistics = replace(s, mean=s.mean.abs() + 0.5, norm=torch.ones(48))
    weight = (weight * 2).round() / 2 + 0.25
    pattern = Unstructured(0.5)
    initial = Magnitude()(weight, statistics, pattern, True)
    method = DSnoT(used_up="run_on", update_threshold=0.0)
    found = refine(method, weight, initial, statistics, pattern)
    mask, _, swaps = twin.refine(weight, initial, statistics, pattern, 50, 0.0, run_on=True)
    assert found.swaps.tolist() == swaps
    assert torch.equal(found.mask, mask)
    check_budget(initial.mask, found.mask, pattern)


def moved(weight: torch.Tensor, parts: int) -> torch.Tensor:
    """Weights that an update has moved by up to 8 / `parts`."""
    generator = torch.Generator().manual_seed(0)
    return weight + torch.randint(-8, 9, weight.shape, generator=generator) / parts


@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
def test_moved_weights_count_with_their_present_value(pattern: Pattern) -> None:
    weight, statistics = layer(3)
    updated = moved(weight, 32)
    initial = replace(Wanda()(weight, statistics, pattern, True), weight=updated, moved=True)
    found = refine(DSnoT(only_better="never"), weight, initial, statistics, pattern)
    mask, errors, _ = twin.refine(weight, initial, statistics, pattern, 50)
    assert torch.equal(found.mask, mask)
    torch.testing.assert_close(
        found.error_after, torch.tensor(errors).double(), rtol=1e-5, atol=1e-4
    )


@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
def test_on_moved_weights_a_row_that_would_end_worse_keeps_its_mask(pattern: Pattern) -> None:
    weight, statistics = layer(3)
    updated = moved(weight, 64)
    masks = Wanda()(weight, statistics, pattern, True)
    initial = replace(masks, weight=updated, moved=True)
    found = refine(DSnoT(), weight, initial, statistics, pattern)
    anyway = refine(DSnoT(only_better="never"), weight, initial, statistics, pattern)
    worse = anyway.error_after.abs() > anyway.error_before.abs()
    assert 0 < int(worse.sum()) < len(worse)
    assert torch.equal(found.mask[~worse], anyway.mask[~worse])
    assert torch.equal(found.mask[worse], initial.mask[worse])
    assert torch.equal(found.error_after[worse], found.error_before[worse])
    assert not found.swaps[worse].any()
    always = refine(DSnoT(only_better="always"), weight, masks, statistics, pattern)
    assert (always.error_after.abs() <= always.error_before.abs()).all()


@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
def test_error_after_is_the_error_of_the_new_mask(pattern: Pattern) -> None:
    weight, statistics = layer(5)
    initial = Wanda()(weight, statistics, pattern, True)
    found = refine(DSnoT(), weight, initial, statistics, pattern)
    check_budget(initial.mask, found.mask, pattern)
    new = Initial(found.mask, weight, initial.scores, moved=True)
    torch.testing.assert_close(
        found.error_after, expected_error(weight, new, statistics), rtol=1e-6, atol=1e-4
    )
    assert found.error_after.abs().mean() < found.error_before.abs().mean()
    moved = (found.mask != initial.mask).sum(1)
    assert torch.equal(moved, 2 * found.swaps)


@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
def test_degenerate_channels(pattern: Pattern) -> None:
    weight, s = layer(7)
    mean, var, norm = s.mean.clone(), s.var.clone(), s.norm.clone()
    mean[:8], var[:8], norm[:8] = 0, 0, 0  # dead
    var[8:12] = 0  # constant
    mean[12:16] = 0  # centred
    statistics = replace(s, mean=mean, var=var, norm=norm)
    initial = Wanda()(weight, statistics, pattern, True)
    for grow in ("mean_over_var", "mean", "magnitude", "wanda", "random"):
        found = refine(DSnoT(grow=grow), weight, initial, statistics, pattern)
        check_budget(initial.mask, found.mask, pattern)
        assert not (found.mask & ~initial.mask)[:, :8].any(), "a dead channel was grown"
    mask, _, _ = twin.refine(weight, initial, statistics, pattern, 50)
    assert torch.equal(refine(DSnoT(), weight, initial, statistics, pattern).mask, mask)


def test_rows_without_candidates_stop_and_keep_their_budget() -> None:
    weight, statistics = layer(2, width=48)
    initial = Wanda()(
        weight.abs(), replace(statistics, mean=statistics.mean.abs()), Unstructured(0.5), True
    )
    positive = replace(statistics, mean=statistics.mean.abs() + 0.5)
    found = refine(DSnoT(), weight.abs(), initial, positive, Unstructured(0.5))
    assert found.swaps.sum() == 0  # every contribution is positive: nothing to prune against
    assert torch.equal(found.mask, initial.mask)


def test_narrower_than_the_budget_empty_and_full_masks() -> None:
    weight, statistics = layer(1, width=8)
    pattern = Unstructured(0.5)
    initial = Wanda()(weight, statistics, pattern, True)
    check_budget(initial.mask, refine(DSnoT(), weight, initial, statistics, pattern).mask, pattern)
    for flag in (True, False):
        full = Initial(torch.full_like(initial.mask, flag), weight, initial.scores)
        assert torch.equal(refine(DSnoT(), weight, full, statistics, pattern).mask, full.mask)


def test_the_threshold_stops_a_row() -> None:
    weight, statistics = layer(4)
    pattern = Unstructured(0.5)
    initial = Wanda()(weight, statistics, pattern, True)
    found = refine(DSnoT(update_threshold=1e9), weight, initial, statistics, pattern)
    assert found.swaps.sum() == 0
    early = refine(DSnoT(update_threshold=8.0), weight, initial, statistics, pattern)
    late = refine(DSnoT(update_threshold=0.0), weight, initial, statistics, pattern)
    assert 0 < early.swaps.sum() < late.swaps.sum()


def test_budget_of_cycles_as_count_and_as_fraction() -> None:
    assert DSnoT(max_cycles=50).cycles(4096) == 50
    assert DSnoT(max_cycles=0.0122).cycles(4096) == 50
    assert DSnoT(max_cycles=0.0122).cycles(256) == 3
    assert DSnoT(max_cycles=0.0001).cycles(256) == 1
    assert DSnoT(max_cycles=0).cycles(256) == 0
    weight, statistics = layer(4)
    initial = Wanda()(weight, statistics, Unstructured(0.5), True)
    for cycles in (1, 2, 7):
        found = refine(DSnoT(max_cycles=cycles), weight, initial, statistics, Unstructured(0.5))
        assert found.swaps.max() == cycles


@pytest.fixture(autouse=True, params=["kernel", "plain"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Everything here holds for the compiled kernel and for the plain version."""
    if request.param == "plain":
        monkeypatch.setattr(backend, "usable", lambda weight: False)
    return str(request.param)


@pytest.mark.parametrize(
    "options", [{}, {"grow": "wanda", "prune": "magnitude"}, {"used_up": "run_on"}], ids=str
)
@pytest.mark.parametrize("pattern", [Unstructured(0.6), NM(2, 4)], ids=str)
@pytest.mark.parametrize("way", ["plain"], indirect=True)
def test_no_row_is_sorted_in_full(
    monkeypatch: pytest.MonkeyPatch, pattern: Pattern, options: dict
) -> None:
    weight, statistics = layer(0, width=1024)
    initial = Wanda()(weight, statistics, pattern, True)
    looked_at: list[int] = []

    def watched(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(values: torch.Tensor, *args: Any, **options: Any) -> Any:
            looked_at.append(values.shape[-1])
            return original(values, *args, **options)

        return call

    for owner, name in itertools.product((torch, torch.Tensor), ("sort", "argsort", "msort")):
        monkeypatch.setattr(owner, name, None)
    monkeypatch.setattr(torch.Tensor, "topk", watched(torch.Tensor.topk))
    weight += torch.rand(weight.shape, generator=torch.Generator().manual_seed(0)) / 1024
    method = DSnoT(max_cycles=5, **options)
    assert refine(method, weight, initial, statistics, pattern).swaps.sum() > 0
    assert max(looked_at) <= 1024 // 4


def test_every_criterion_moves_other_weights() -> None:
    weight, statistics = layer(6, rows=40)
    pattern = Unstructured(0.6)
    initial = Wanda()(weight, statistics, pattern, True)
    grown, pruned = {}, {}
    for grow in ("mean_over_var", "mean", "magnitude", "wanda", "random"):
        mask = refine(DSnoT(grow=grow, max_cycles=1), weight, initial, statistics, pattern).mask
        grown[grow] = (mask & ~initial.mask).nonzero().tolist()
    for prune in ("signed_wanda", "wanda", "signed_magnitude", "magnitude", "random"):
        mask = refine(DSnoT(prune=prune, max_cycles=1), weight, initial, statistics, pattern).mask
        pruned[prune] = (~mask & initial.mask).nonzero().tolist()
    for picks in (grown, pruned):
        assert all(picks.values())
        assert len({str(p) for p in picks.values()}) == 5


def test_random_criteria_follow_the_generator() -> None:
    weight, statistics = layer(6)
    pattern = Unstructured(0.6)
    initial = Wanda()(weight, statistics, pattern, True)
    masks = [
        refine(DSnoT(grow="random"), weight, initial, statistics, pattern, s).mask
        for s in (1, 1, 2)
    ]
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])


def test_variance_within_sequences_is_the_released_one() -> None:
    weight, s = layer(8)
    statistics = replace(s, sequence_var=s.var.flip(0))
    pattern = Unstructured(0.6)
    initial = Wanda()(weight, statistics, pattern, True)
    found = refine(DSnoT(variance="sequence"), weight, initial, statistics, pattern)
    mask, _, _ = twin.refine(weight, initial, replace(s, var=s.var.flip(0)), pattern, 50)
    assert torch.equal(found.mask, mask)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_cycles": -1}, "max_cycles=-1"),
        ({"max_cycles": 1.5}, "max_cycles=1.5"),
        ({"update_threshold": -0.1}, "update_threshold=-0.1"),
        ({"grow": "wandaa"}, "grow=wandaa: choose from mean_over_var"),
        ({"prune": "x"}, "prune=x: choose from signed_wanda"),
        ({"variance": "x"}, "variance=x: choose from pooled"),
    ],
)
def test_bad_options_are_refused(options: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        DSnoT(**options)
