"""Exact budgets, ties, and what a pattern refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dsnot_exp.methods.patterns import NM, Unstructured, check_budget, packed, parse
from dsnot_exp.utils.errors import RequestError


@pytest.mark.parametrize("sparsity", [0.0, 0.29, 0.5, 0.6, 0.7, 0.999])
def test_unstructured_budget_is_exact_in_every_row(
    sparsity: float, generator: torch.Generator
) -> None:
    scores = torch.randint(0, 5, (30, 100), generator=generator).float()
    mask = Unstructured(sparsity).mask(scores)
    assert ((~mask).sum(1) == int(100 * sparsity)).all()


def test_the_scope_of_a_matrix_compares_all_weights(generator: torch.Generator) -> None:
    scores = torch.rand(10, 30, generator=generator) + torch.arange(10.0).unsqueeze(1)
    mask = Unstructured(0.5).mask(scores, "matrix")
    assert not mask[:5].any()
    assert mask[5:].all()


@pytest.mark.parametrize("pattern", [NM(2, 4), NM(4, 8), NM(1, 4), NM(3, 4), NM(1, 2)])
def test_nm_keeps_n_of_every_m(pattern: NM, generator: torch.Generator) -> None:
    scores = torch.randint(0, 3, (20, 48), generator=generator).float()
    mask = pattern.mask(scores)
    assert (mask.reshape(20, -1, pattern.m).sum(-1) == pattern.n).all()
    groups, kept = scores.reshape(-1, pattern.m), mask.reshape(-1, pattern.m)
    for group, k in zip(groups, kept, strict=True):
        assert group[k].min() >= group[~k].max()


def test_a_drifted_budget_is_noticed() -> None:
    before = torch.tensor([[True, False, True, False]])
    across = torch.tensor([[True, True, False, False]])
    check_budget(before, across, Unstructured(0.5))
    with pytest.raises(AssertionError):
        check_budget(before, across, NM(1, 2))
    with pytest.raises(AssertionError):
        check_budget(before, torch.ones(1, 4, dtype=torch.bool), Unstructured(0.5))


@pytest.mark.parametrize(
    ("pattern", "sparsity", "expected"),
    [
        ("unstructured", None, Unstructured(0.5)),
        ("unstructured", 0.6, Unstructured(0.6)),
        ("2:4", None, NM(2, 4)),
        ("4:8", 0.5, NM(4, 8)),
        ("1:4", 0.75, NM(1, 4)),
    ],
)
def test_parse(pattern: str, sparsity: float | None, expected: object) -> None:
    assert parse(pattern, sparsity) == expected


@pytest.mark.parametrize(
    ("pattern", "sparsity", "words"),
    [
        ("unstructured", 1.5, "sparsity=1.5"),
        ("unstructured", 1.0, "sparsity=1.0"),
        ("unstructured", -0.1, "sparsity=-0.1"),
        ("unstructured", float("nan"), "sparsity=nan"),
        ("4:2", None, "pattern=4:2"),
        ("0:4", None, "pattern=0:4"),
        ("4:4", None, "pattern=4:4"),
        ("2-4", None, "pattern=2-4"),
        ("2:4", 0.7, "sparsity=0.7: pattern=2:4 implies 0.5"),
    ],
)
def test_parse_refuses(pattern: str, sparsity: float | None, words: str) -> None:
    with pytest.raises(RequestError, match=words):
        parse(pattern, sparsity)


def test_a_width_that_m_does_not_divide_is_refused() -> None:
    with pytest.raises(RequestError, match=r"pattern=2:4: h\.0\.fc has 30 inputs"):
        NM(2, 4).refuse_width(30, "h.0.fc")
    NM(2, 4).refuse_width(32, "h.0.fc")


def test_a_packed_mask_is_numpys(generator: torch.Generator) -> None:
    mask = torch.rand(5, 7, generator=generator) > 0.5
    assert packed(mask) == np.packbits(mask.numpy()).tobytes()
    assert packed(mask.T) == np.packbits(mask.T.numpy()).tobytes()
