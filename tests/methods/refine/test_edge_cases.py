"""DSnoT where two numbers are equal or one is zero: rows small enough to be worked out by hand.

test_kernel.py runs this file once more with Triton's kernel, interpreted.
"""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from dsnot_exp.methods.patterns import NM, Pattern, Unstructured
from dsnot_exp.methods.protocols import Initial, Refined
from dsnot_exp.methods.refine.dsnot import backend
from dsnot_exp.methods.refine.dsnot.candidates import first, largest_first, smallest_first
from dsnot_exp.methods.refine.dsnot.method import DSnoT
from dsnot_exp.methods.statistics import InputStatistics

PATTERNS: list[Pattern] = [Unstructured(0.5), NM(2, 4)]
# e = -3. Column 1 comes back and column 2 goes: e = -3 + 1 + 2 = 0. Columns 4 and 5 cancel out and
# come last, for their variance.
WEIGHT = [-1.0, -2.0, 1.0, 5.0, 4.0, -4.0, -3.0, 7.0]
KEPT = [False, False, True, True, False, False, True, True]
VARIANCE = [1.0, 1.0, 1.0, 1.0, 100.0, 100.0, 1.0, 1.0]


@pytest.fixture(autouse=True, params=["kernel", "plain"])
def _way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything here holds for the kernel of this machine and for the plain version."""
    if request.param == "plain":
        monkeypatch.setattr(backend, "usable", lambda weight: False)


def statistics(norm: list[float] | None, var: list[float]) -> InputStatistics:
    """Of one token: a weight contributes as much as it is."""
    ones, v = torch.ones(len(WEIGHT)), torch.tensor(var)
    return InputStatistics(1, 1, ones, v, v, ones if norm is None else torch.tensor(norm))


def both_signs(
    method: DSnoT,
    pattern: Pattern,
    weight: list[float] = WEIGHT,
    norm: list[float] | None = None,
    var: list[float] = VARIANCE,
    moved: bool = False,
) -> Refined:
    """The row and, below it, the row with all signs turned."""
    w = torch.tensor([weight, [-x for x in weight]])
    initial = Initial(torch.tensor([KEPT, KEPT]), w, w.abs(), moved)
    found = method(w, initial, statistics(norm, var), pattern, torch.Generator())
    assert torch.equal(found.error_before, torch.tensor([-3.0, 3.0]).double())
    return found


def changed(found: Refined) -> list[list[int]]:
    """The columns in which each row's mask is another than KEPT."""
    return [row.nonzero()[:, 0].tolist() for row in found.mask != torch.tensor(KEPT)]


@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
def test_a_swap_to_an_error_of_exactly_zero_turns_the_sign(pattern: Pattern) -> None:
    found = both_signs(DSnoT(stop_on_sign_flip="always"), pattern)
    assert changed(found) == [[], []]
    assert found.swaps.tolist() == [0, 0]
    assert torch.equal(found.error_after, found.error_before)


@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
def test_a_row_stops_at_an_error_of_exactly_zero(pattern: Pattern) -> None:
    found = both_signs(DSnoT(stop_on_sign_flip="never", update_threshold=0.0), pattern)
    assert changed(found) == [[1, 2], [1, 2]]
    assert found.swaps.tolist() == [1, 1]
    assert found.error_after.tolist() == [0, 0]


@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
def test_an_error_that_equals_the_threshold_stops_the_row(pattern: Pattern) -> None:
    at = both_signs(DSnoT(stop_on_sign_flip="never", update_threshold=3.0), pattern)
    assert at.swaps.tolist() == [0, 0]
    below = both_signs(DSnoT(stop_on_sign_flip="never", update_threshold=2.9375), pattern)
    assert below.swaps.tolist() == [1, 1]


@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
def test_a_swap_to_the_threshold_is_the_last(pattern: Pattern) -> None:
    weight = [*WEIGHT[:2], 0.5, *WEIGHT[3:]]  # -3 + 0.5 + 2 = -0.5
    method = DSnoT(stop_on_sign_flip="never", update_threshold=0.5)
    found = both_signs(method, pattern, weight)
    assert found.swaps.tolist() == [1, 1]
    assert found.error_after.tolist() == [-0.5, 0.5]
    further = both_signs(replace(method, update_threshold=0.25), pattern, weight)
    assert min(further.swaps.tolist()) > 1


@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
@pytest.mark.parametrize(
    ("least", "after", "kept_where_only_better"),
    [(4.0, 3.0, True), (4.25, 3.25, False), (3.75, 2.75, True)],
    ids=["as large", "larger", "smaller"],
)
def test_an_error_as_large_as_before_is_not_worse(
    pattern: Pattern, least: float, after: float, kept_where_only_better: bool
) -> None:
    """-3 + least + 2, so that the error turns its sign."""
    weight = [*WEIGHT[:2], least, *WEIGHT[3:]]
    method = DSnoT(max_cycles=1, stop_on_sign_flip="never")
    for choice in ("never", "auto"):  # the weights have not moved
        found = both_signs(replace(method, only_better=choice), pattern, weight)
        assert changed(found) == [[1, 2], [1, 2]]
    for choice, moved in (("always", False), ("auto", True)):
        found = both_signs(replace(method, only_better=choice), pattern, weight, moved=moved)
        better = kept_where_only_better
        assert changed(found) == ([[1, 2], [1, 2]] if better else [[], []])
        assert found.swaps.tolist() == ([1, 1] if better else [0, 0])
        assert found.error_after.tolist() == ([after, -after] if better else [-3.0, 3.0])


@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
def test_a_dead_channel_is_not_grown_whatever_its_mean(pattern: Pattern) -> None:
    """Its norm can be zero and its mean not: the one underflows before the other."""
    norm = [1.0, 0.0, *[1.0] * 6]
    found = both_signs(DSnoT(max_cycles=1, stop_on_sign_flip="never"), pattern, norm=norm)
    assert changed(found) == [[0, 2], [0, 2]]
    nothing = both_signs(DSnoT(), pattern, norm=[0.0] * 8)
    assert nothing.swaps.tolist() == [0, 0]


@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
def test_a_contribution_over_its_variance_that_underflows_is_the_last_candidate(
    pattern: Pattern,
) -> None:
    """1e-30 / 1e20 is 0 in float32. Column 1 is dead, and columns 4 and 5 have come to 0 too."""
    weight, norm = [-1e-30, -3.0, *WEIGHT[2:]], [1.0, 0.0, *[1.0] * 6]
    alone = [1e20, *[1.0] * 3, math.inf, math.inf, 1.0, 1.0]
    found = both_signs(DSnoT(max_cycles=1), pattern, weight, norm, alone)
    assert changed(found) == [[0, 2], [0, 2]]


@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
def test_among_equals_the_leftmost_moves(pattern: Pattern) -> None:
    weight = [-1.5, -1.5, 2.0, 2.0, 4.0, -4.0, 6.0, 6.0]
    found = both_signs(DSnoT(max_cycles=1, stop_on_sign_flip="never"), pattern, weight)
    assert changed(found) == [[0, 2], [0, 2]]


def test_running_on_takes_weights_that_cost_nothing_too() -> None:
    """No kept weight has the wanted sign, and those of the other lie in dead channels."""
    weight = [*WEIGHT[:2], -5.0, -6.0, *WEIGHT[4:6], -3.0, -7.0]
    norm = [1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0]
    method = DSnoT(max_cycles=1, used_up="run_on")
    assert changed(both_signs(method, Unstructured(0.5), weight, norm)) == [[1, 2], [1, 2]]
    stops = replace(method, used_up="stop")
    assert changed(both_signs(stops, Unstructured(0.5), weight, norm)) == [[], []]


def leftmost_first(keys: Tensor, count: int) -> list[list[int]]:
    """The columns of the `count` largest keys above 0 of every row, one by one."""
    found = []
    for row in keys.tolist():
        order = sorted(range(len(row)), key=lambda k: (-row[k], k))
        found.append([k for k in order[:count] if row[k] > 0])
    return found


@pytest.mark.parametrize("width", [1, 2, 7, 48, 130, 1024])
@pytest.mark.parametrize("values", [1, 2, 5, 300])
def test_the_last_candidate_is_the_leftmost_of_its_equals(width: int, values: int) -> None:
    generator = torch.Generator().manual_seed(width)
    keys = torch.randint(0, values + 1, (6, 2, width), generator=generator, dtype=torch.int32)
    keys[0] = 1
    for count in sorted({1, 2, 3, 8, width // 2, width - 1, width} - {0}):
        if count > width:
            continue
        column, found = first(keys, count)
        assert column.shape == found.shape == (6, 2, count)
        rows = zip(column.flatten(0, 1), found.flatten(0, 1), strict=True)
        assert [c[f].tolist() for c, f in rows] == leftmost_first(keys.flatten(0, 1), count)


def test_keys_put_scores_in_order_and_leave_out_what_is_not_eligible() -> None:
    score = torch.tensor([[0.0, -2.0, 1.0, 2.0, 3.0]])
    eligible = torch.tensor([[True, True, True, True, False]])
    large, small = largest_first(score, eligible), smallest_first(score, eligible)
    assert leftmost_first(large, 5) == [[1, 3, 2, 0]]
    assert leftmost_first(small, 5) == [[0, 2, 1, 3]]
