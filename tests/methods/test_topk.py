"""Exact counts, ties, slices."""

from __future__ import annotations

import pytest
import torch

from dsnot_exp.methods import native, topk
from dsnot_exp.methods.topk import counts, smallest


@pytest.fixture(autouse=True, params=["native", "numpy"])
def _way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything here holds for the compiled code and for the one without."""
    if request.param == "numpy":
        monkeypatch.setattr(native, "available", lambda name: False)


def by_full_sort(scores: torch.Tensor, count: int) -> torch.Tensor:
    """The slow twin of `smallest`: a stable sort of the whole row."""
    order = scores.sort(dim=-1, stable=True).indices[..., :count]
    return torch.zeros_like(scores, dtype=torch.bool).scatter(-1, order, True)


@pytest.mark.parametrize("count", [0, 1, 7, 19, 20])
def test_smallest_is_a_stable_sort(count: int, generator: torch.Generator) -> None:
    scores = torch.randint(-3, 4, (50, 20), generator=generator).float()  # many ties
    scores[3:9] *= -0.0
    scores[5, 4] = -torch.inf
    scores[6, ::2] = torch.inf
    assert torch.equal(smallest(scores, count), by_full_sort(scores, count))


@pytest.mark.parametrize("width", [4, 8, 20])
@pytest.mark.parametrize("slice_", [1, 70, 1 << 18])
def test_slices_and_leading_dimensions_change_nothing(
    width: int, slice_: int, monkeypatch: pytest.MonkeyPatch, generator: torch.Generator
) -> None:
    monkeypatch.setattr(topk, "SLICE", slice_)
    scores = torch.randint(0, 9, (7, 5, width), generator=generator).float()
    for given in (scores, scores.transpose(0, 1), scores.double(), scores.half()):
        assert torch.equal(smallest(given, 3), by_full_sort(given, 3))


@pytest.mark.parametrize("width", [9, 64, 1000, 5000])
def test_numbers_of_any_size(width: int, generator: torch.Generator) -> None:
    scores = torch.randn(6, width, generator=generator)
    scores[1] *= 1e-40  # some of them denormal
    scores[2] = scores[2].exp()
    scores[3] = scores[3].bfloat16().float()
    scores[4] = 0
    for count in (1, width // 3, width - 1, width):
        assert torch.equal(smallest(scores, count), by_full_sort(scores, count))


def test_counts_are_sums(generator: torch.Generator) -> None:
    mask = torch.rand(3, 4, 9, generator=generator) > 0.5
    assert torch.equal(counts(mask), mask.sum(-1))
    assert counts(mask[0, 0]) == mask[0, 0].sum()
