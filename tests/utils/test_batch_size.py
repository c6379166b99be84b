"""A batch that does not fit is halved, and the result is the same."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from dsnot_exp.evaluate.perplexity import perplexity
from dsnot_exp.utils.batch_size import fitting, halve_on_out_of_memory
from dsnot_exp.utils.errors import RunError
from tests.support.families import build, tokens


class Small:
    """A model on a device that holds `most` sequences."""

    device = torch.device("cpu")

    def __init__(self, most: int) -> None:
        self.model, self.most, self.sizes = build("llama"), most, []

    def __call__(self, input_ids: torch.Tensor, use_cache: bool) -> SimpleNamespace:
        self.sizes.append(len(input_ids))
        if len(input_ids) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self.model(input_ids=input_ids, use_cache=use_cache)


def test_perplexity_continues_with_half_the_batch_size() -> None:
    model, progress = Small(2), []
    found = perplexity(model, tokens(9, 12), 8, progress.append)
    assert found == pytest.approx(perplexity(model.model, tokens(9, 12), 9), rel=1e-6)
    assert model.sizes == [8, 4, 2, 2, 2, 2, 1]
    assert progress == [2, 2, 2, 2, 1]


def test_one_sequence_that_does_not_fit_is_an_error_with_a_remedy() -> None:
    with pytest.raises(RunError, match=r"eval\.streaming=true"):
        perplexity(Small(0), tokens(2, 12), 2)


def test_other_errors_are_not_taken_for_a_full_memory() -> None:
    def fails(size: int) -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        halve_on_out_of_memory(4, fails, "")


def test_logits_of_a_large_vocabulary_bound_the_batch() -> None:
    cpu = torch.device("cpu")
    assert fitting(256, 1000, cpu) == 16
    assert fitting(256, 10**9, cpu) == 1
    assert fitting(10**5, 1000, cpu) == 1
