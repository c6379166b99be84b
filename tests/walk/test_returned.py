"""What a method returns is checked: a wrong one stops the run, with the protocol's words."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from dsnot_exp.methods.patterns import NM, Unstructured
from dsnot_exp.methods.protocols import Initial, Refined
from dsnot_exp.utils.errors import RunError
from dsnot_exp.walk.returned import (
    check_initial,
    check_reconstructed,
    check_refined,
    check_sparsity,
)

LAYER = "model.layers.0.up_proj"
WEIGHT = torch.arange(1.0, 33.0).reshape(4, 8)  # (out, in)
MASK = Unstructured(0.5).mask(WEIGHT)
ROWS = torch.zeros(4)


class Mine:
    """Gives its name to the messages."""


def initial(**changes: Any) -> Initial:
    return Initial(**{"mask": MASK, "weight": WEIGHT, "scores": WEIGHT, **changes})


def refined(**changes: Any) -> Refined:
    parts = {"mask": MASK, "error_before": ROWS, "error_after": ROWS, "swaps": ROWS.long()}
    return Refined(**{**parts, **changes})


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (MASK, r"a Tensor; return Initial\(mask, weight, scores\)"),
        (None, "a NoneType"),
        (initial(mask=MASK.float()), "Initial.mask: torch.float32 instead of torch.bool"),
        (initial(mask=MASK[:1]), r"Initial.mask: \(1, 8\) instead of \(4, 8\)"),
        (initial(weight=WEIGHT.T), r"Initial.weight: \(8, 4\) instead of \(4, 8\)"),
        (initial(scores=None), r"Initial.scores: NoneType instead of \(4, 8\)"),
    ],
)
def test_what_a_pruner_returns(given: Any, words: str) -> None:
    check_initial(LAYER, Mine(), initial(), WEIGHT)
    with pytest.raises(RunError, match=rf"^{LAYER}: Mine returned {words}"):
        check_initial(LAYER, Mine(), given, WEIGHT)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ((MASK, ROWS, ROWS, ROWS), r"returned a tuple; return Refined\(mask, error_before"),
        (refined(mask=MASK[0]), r"Refined.mask: \(8,\) instead of \(4, 8\)"),
        (refined(mask=MASK.int()), "Refined.mask: torch.int32 instead of torch.bool"),
        (refined(swaps=3), r"Refined.swaps: int instead of \(4,\)"),
        (refined(error_after=torch.zeros(())), r"Refined.error_after: \(\) instead of \(4,\)"),
    ],
)
def test_what_a_refiner_returns(given: Any, words: str) -> None:
    check_refined(LAYER, Mine(), refined(), WEIGHT)
    with pytest.raises(RunError, match=words):
        check_refined(LAYER, Mine(), given, WEIGHT)


def test_a_reconstructor_leaves_zeros_where_they_are() -> None:
    sparse = WEIGHT.masked_fill(~MASK, 0)
    check_reconstructed(LAYER, Mine(), sparse, MASK)
    for given, words in (
        (WEIGHT, "weights where the mask is False"),
        (sparse.T, r"a weight: \(8, 4\) instead"),
        (None, "a weight: NoneType instead"),
    ):
        with pytest.raises(RunError, match=rf"^{LAYER}: Mine returned.*{words}"):
            check_reconstructed(LAYER, Mine(), given, MASK)


@pytest.mark.parametrize("scope", ["row", "matrix"])
@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.5, 0.99])
def test_the_budget_of_a_pattern_is_accepted(scope: str, sparsity: float) -> None:
    scores = torch.rand(30, 50, generator=torch.Generator().manual_seed(0))
    pattern = Unstructured(sparsity)
    check_sparsity(LAYER, Mine(), pattern.mask(scores, scope), pattern)


def test_another_budget_is_refused() -> None:
    scores = torch.rand(30, 64, generator=torch.Generator().manual_seed(0))
    for other in (0.0, 0.4, 0.6, 1.0):
        with pytest.raises(RunError, match=r"pruned \d+.\d% of the weights instead of 50.0%"):
            check_sparsity(LAYER, Mine(), Unstructured(other).mask(scores), Unstructured(0.5))
    check_sparsity(LAYER, Mine(), NM(2, 4).mask(scores), NM(2, 4))
    with pytest.raises(RunError, match="returned a mask that is not 2:4; take it from"):
        check_sparsity(LAYER, Mine(), Unstructured(0.5).mask(scores), NM(2, 4))
