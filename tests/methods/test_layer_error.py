"""The error of a sparse layer on a sample of bfloat16 tokens."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from dsnot_exp.methods.layer_error import outputs, relative_errors
from dsnot_exp.methods.statistics import Accumulator
from tests.support.walking import MOMENTS, SAMPLE


@pytest.mark.parametrize("shape", [(256, 96, 64), (64, 300, 40)], ids=str)
def test_rounded_outputs_change_no_digit_of_a_relative_error(shape: tuple[int, int, int]) -> None:
    tokens, width, rows = shape
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, tokens, width, generator=generator).bfloat16()
    weight = torch.randn(rows, width, generator=generator).bfloat16()
    sparse = torch.where(weight.abs() > 0.8, weight, 0)
    accumulator = Accumulator(width, MOMENTS | {SAMPLE}, torch.device("cpu"))
    accumulator.update(x, tokens)
    statistics = accumulator.finish()
    assert statistics.sample is not None
    exact = replace(statistics, sample=statistics.sample.double())
    found = relative_errors(weight, (sparse, sparse), statistics, "sample")[1][0]
    lost, whole = (outputs(exact.sample, m.double()) for m in (weight - sparse, weight))
    assert found == pytest.approx(float(lost.square().sum() / whole.square().sum()), rel=2e-3)
