"""The accumulator against direct computations over all tokens."""

from __future__ import annotations

import pytest
import torch

from dsnot_exp.methods import moments_kernel
from dsnot_exp.methods.moments import moments, spread
from dsnot_exp.methods.protocols import Needs
from dsnot_exp.methods.statistics import Accumulator, InputStatistics, Statistic
from dsnot_exp.utils.distributed import Ranks
from tests.support.ranks import in_processes
from tests.support.walking import GRAM, MOMENTS, SAMPLE

CPU = torch.device("cpu")


def collect(batches: list[torch.Tensor], needs: Needs = MOMENTS | {GRAM}) -> Accumulator:
    accumulator = Accumulator(batches[0].shape[-1], needs, CPU)
    for batch in batches:
        accumulator.update(batch)
    return accumulator


def direct(x: torch.Tensor) -> InputStatistics:
    """x: (sequences, tokens, in), in float64 and one go."""
    x = x.double()
    flat = x.flatten(0, 1)
    return InputStatistics(
        sequences=len(x),
        tokens=len(flat),
        mean=flat.mean(0).float(),
        var=flat.var(0, correction=0).float(),
        sequence_var=x.var(1, correction=0).mean(0).float(),
        norm=(flat.square().sum(0) / len(x)).sqrt().float(),
        gram=(flat.T @ flat / len(flat)).float(),
    )


def assert_same(found: InputStatistics, expected: InputStatistics) -> None:
    assert (found.sequences, found.tokens) == (expected.sequences, expected.tokens)
    for name in ("mean", "var", "sequence_var", "norm", "gram"):
        torch.testing.assert_close(
            getattr(found, name), getattr(expected, name), rtol=2e-5, atol=1e-6, msg=name
        )


def test_batches_of_any_size_count_like_one(generator: torch.Generator) -> None:
    x = torch.randn(7, 11, 5, generator=generator) + torch.linspace(-3, 3, 7).reshape(7, 1, 1)
    whole = collect([x]).finish()
    assert_same(whole, direct(x))
    for sizes in ([1] * 7, [3, 4], [2, 2, 2, 1]):
        found = collect(list(x.split(sizes))).finish()
        for name in ("mean", "var", "sequence_var", "norm", "gram"):
            assert torch.equal(getattr(found, name), getattr(whole, name)), name


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_processes_together_count_like_one(processes: int, generator: torch.Generator) -> None:
    """The last of four has no sequence."""
    x = torch.randn(6, 9, 4, generator=generator) + 2

    def run(ranks: Ranks) -> InputStatistics:
        share = x[2 * ranks.rank : None if ranks.rank == processes - 1 else 2 * ranks.rank + 2]
        accumulator = Accumulator(4, MOMENTS | {GRAM, SAMPLE}, CPU)
        if len(share):
            accumulator.update(share, 3)
        return accumulator.gathered(ranks, x.dtype).finish()

    for found in in_processes(processes, run):
        assert_same(found, direct(x))
        assert torch.equal(found.sample, spread(x, 3))


def test_a_large_mean_does_not_drown_the_variance(generator: torch.Generator) -> None:
    x = torch.randn(4, 64, 3, generator=generator) * 0.1 + 1000
    found, expected = collect([x[:2], x[2:]]).finish(), direct(x)
    torch.testing.assert_close(found.var, expected.var, rtol=1e-3, atol=0)


def test_dead_and_constant_channels(generator: torch.Generator) -> None:
    x = torch.randn(3, 8, 3, generator=generator)
    x[..., 0], x[..., 1] = 0.0, 2.5
    found = collect([x]).finish()
    assert found.norm[0] == 0
    assert found.mean[0] == 0
    assert found.var[:2].tolist() == [0, 0]
    assert found.mean[1] == 2.5


@pytest.mark.parametrize("constant", [0.1, -1 / 3, 1e-12, 7777.77])
def test_a_constant_channel_has_no_variance_however_it_is_cut(constant: float) -> None:
    x = torch.full((5, 700, 1000), constant)  # several slices
    x[..., 0] += 1e-5 * constant * torch.arange(700)
    for sizes in ([5], [2, 3]):
        found = collect(list(x.split(sizes)), MOMENTS).finish()
        assert not found.var[1:].any()
        assert not found.sequence_var[1:].any()
        assert found.var[0] > 0
        torch.testing.assert_close(found.mean[1:], x[0, 0, 1:], rtol=1e-6, atol=0)


def test_a_first_token_far_off_costs_no_accuracy(generator: torch.Generator) -> None:
    x = torch.randn(2, 300, 4, generator=generator)
    x[:, 0] = 1e4
    assert_same(collect([x]).finish(), direct(x))


def test_without_a_variance_mean_and_norm_are_the_same(generator: torch.Generator) -> None:
    x = torch.randn(4, 64, 5, generator=generator) + 3
    found = collect([x[:1], x[1:]], frozenset({Statistic.NORM})).finish()
    torch.testing.assert_close(found.mean, direct(x).mean, rtol=2e-5, atol=1e-6)
    torch.testing.assert_close(found.norm, direct(x).norm, rtol=2e-5, atol=1e-6)
    assert found.var.numel() == found.sequence_var.numel() == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_gram_matrix_of_several_stripes_is_symmetric(
    dtype: torch.dtype, generator: torch.Generator
) -> None:
    x = torch.randn(1, 700, 1100, generator=generator).to(dtype)
    found = collect([x[:, :300], x[:, 300:]], frozenset({GRAM})).finish().gram
    assert found is not None
    torch.testing.assert_close(found, direct(x.float()).gram, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found, found.T, rtol=1e-4, atol=1e-4)


def test_a_sample_is_spread_over_each_sequence(generator: torch.Generator) -> None:
    x = torch.randn(3, 10, 2, generator=generator)
    assert torch.equal(spread(x, 2), x[:, [2, 7]].flatten(0, 1))
    assert torch.equal(spread(x, 10), x.flatten(0, 1))
    assert torch.equal(spread(x, 99), x.flatten(0, 1))
    for dtype in (torch.float32, torch.bfloat16):
        accumulator = Accumulator(2, frozenset({SAMPLE}), CPU)
        for part in (x[:1], x[1:]):
            accumulator.update(part.to(dtype), 2)
        sample = accumulator.finish().sample
        assert sample.dtype == dtype
        assert torch.equal(sample, spread(x.to(dtype), 2))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_inputs_are_counted_in_float32(
    dtype: torch.dtype, generator: torch.Generator
) -> None:
    x = (torch.randn(4, 256, 3, generator=generator) + 3).to(dtype)
    assert_same(collect([x]).finish(), direct(x.float()))


@pytest.mark.parametrize("shape", [(1, 3), (300, 70), (513, 130)], ids=str)
def test_compiled_moments_are_those_of_tensor_operations(
    shape: tuple[int, int], generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = (torch.randn(*shape, generator=generator) + 50).bfloat16()
    compiled = moments(x, True)
    turned = moments(x.T.contiguous().T, True)  # columns are contiguous
    monkeypatch.setattr(moments_kernel, "available", lambda inputs: False)
    for found in (compiled, turned):
        for value, expected in zip(found, moments(x, True), strict=True):
            torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-9)


def test_the_gram_matrix_is_only_made_where_it_is_asked_for() -> None:
    assert collect([torch.ones(1, 2, 3)], MOMENTS).finish().gram is None
