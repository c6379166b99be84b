"""Which linears share an input, how long tensors are held, and what a sample holds."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dsnot_exp.methods.protocols import Needs
from dsnot_exp.methods.statistics import Accumulator, InputStatistics, Statistic, spread
from dsnot_exp.models.linears import linears
from dsnot_exp.utils.distributed import ALONE
from dsnot_exp.utils.errors import RunError
from dsnot_exp.walk.collect import Collector, Orders
from tests.support.walking import GRAM, MOMENTS, SAMPLE

Forward = Callable[..., object]


class Block(nn.Module):
    """Linears named by letters, of the given widths; `run(layers, x)` is its forward."""

    def __init__(self, run: Forward, **widths: int) -> None:
        super().__init__()
        sized = {name: nn.Linear(width, 4, bias=False) for name, width in widths.items()}
        self.layers, self.run = nn.ModuleDict(sized), run

    def forward(self, x: Tensor) -> None:
        self.run(self.layers, x)


def collected(
    block: nn.Module,
    batches: Sequence[Tensor],
    needs: Needs = MOMENTS,
    orders: Orders | None = None,
    total: int | None = None,
) -> dict[str, InputStatistics]:
    """The statistics of each linear after one forward per batch (sequences, tokens, in)."""
    total = sum(map(len, batches)) if total is None else total
    orders = Orders() if orders is None else orders
    with torch.no_grad(), Collector("block", linears(block), needs, total, orders) as collector:
        for x in batches:
            with collector.forward(*x.shape[:2]):
                block(x)
    found = collector.finish(ALONE)
    return {name.removeprefix("layers."): statistics for name, statistics in found.items()}


def assert_mean(found: InputStatistics, x: Tensor) -> None:
    torch.testing.assert_close(found.mean, x.flatten(0, 1).mean(0))


def test_a_tensor_that_changes_in_place_between_two_linears_is_two_inputs() -> None:
    def run(layers: nn.ModuleDict, x: Tensor) -> None:
        layers["a"](x)
        layers["b"](x.mul_(3))

    x = torch.randn(2, 3, 4)
    found = collected(Block(run, a=4, b=4), [x.clone()])
    assert_mean(found["a"], x)
    assert_mean(found["b"], 3 * x)


@pytest.mark.parametrize(
    "other",
    [lambda x: x[..., :2], lambda x: x.transpose(1, 2), lambda x: x[:, 1:], lambda x: x + 0],
    ids=["narrower", "transposed", "shifted", "equal numbers elsewhere"],
)
def test_different_views_and_tensors_are_different_inputs(other: Forward) -> None:
    def run(layers: nn.ModuleDict, x: Tensor) -> None:
        layers["a"](x)
        layers["b"](other(x))

    x = torch.randn(2, 4, 4)
    expected = other(x)
    found = collected(Block(run, a=4, b=expected.shape[-1]), [x])
    assert_mean(found["a"], x)
    assert_mean(found["b"], expected)
    assert found["a"] is not found["b"]


def test_an_input_that_returns_after_another_is_shared() -> None:
    def run(layers: nn.ModuleDict, x: Tensor) -> None:
        layers["a"](x)
        layers["b"](x + 1)
        layers["c"](x)

    found = collected(Block(run, a=4, b=4, c=4), [torch.randn(2, 3, 4), torch.randn(1, 3, 4)])
    assert found["c"] is found["a"]
    assert found["b"] is not found["a"]


def test_reused_memory_within_a_forward_is_another_input() -> None:
    def run(layers: nn.ModuleDict, x: Tensor) -> None:
        for factor, layer in enumerate(layers.values(), 1):
            layer(x * factor)

    x = torch.randn(2, 64, 32)
    found = collected(Block(run, a=32, b=32, c=32), [x])
    for factor, name in enumerate("abc", 1):
        assert_mean(found[name], factor * x)


def test_inputs_are_released_before_the_next_forward_and_after_the_last() -> None:
    inputs: list[weakref.ref[Tensor]] = []

    def run(layers: nn.ModuleDict, x: Tensor) -> None:
        for layer in layers.values():
            inputs.append(weakref.ref(own := x + 1))
            layer(own)

    def held() -> int:
        return sum(reference() is not None for reference in inputs)

    block = Block(run, a=4, b=4)
    with torch.no_grad(), Collector("block", linears(block), MOMENTS, 6, Orders()) as collector:
        for _ in range(3):
            with collector.forward(2, 3):
                assert held() == 0
                block(torch.ones(2, 3, 4))
    assert held() == 0
    assert len(inputs) == 6


def test_an_accumulator_is_freed_before_the_next_one_is_finished(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun: list[weakref.ref[Accumulator]] = []
    finish = Accumulator.finish

    def spied(self: Accumulator) -> InputStatistics:
        assert not any(earlier() for earlier in begun)
        begun.append(weakref.ref(self))
        return finish(self)

    def run(layers: nn.ModuleDict, x: Tensor) -> None:
        for layer in layers.values():
            layer(x + 1)

    monkeypatch.setattr(Accumulator, "finish", spied)
    collected(Block(run, a=4, b=4, c=4), [torch.ones(2, 3, 4)], frozenset({GRAM}))
    assert len(begun) == 3


def test_a_forward_that_calls_some_of_the_linears_sets_no_order() -> None:
    calls = iter(["a", "ab", "ba", "ab"])
    ended = []

    def run(layers: nn.ModuleDict, x: Tensor) -> None:
        path = next(calls)
        for name in path:
            layers[name](x + 1)
        ended.append(path)

    found = collected(Block(run, a=4, b=4), [torch.ones(2, 3, 4)] * 4)
    assert ended == ["a", "ab", "ba"]  # the second forward sets the order, which ends the fourth
    assert (found["a"].tokens, found["b"].tokens) == (4 * 6, 3 * 6)


def test_blocks_with_different_linears_have_their_own_order() -> None:
    def run(layers: nn.ModuleDict, x: Tensor) -> None:
        for layer in layers.values():
            layer(x)

    orders = Orders()
    for names in ("ab", "abc", "ab"):
        block = Block(run, **dict.fromkeys(names, 4))
        assert set(collected(block, [torch.ones(2, 3, 4)] * 2, orders=orders)) == set(names)


def test_all_linears_that_received_no_input_are_named_with_the_remedy() -> None:
    block = Block(lambda layers, x: layers["a"](x), a=4, b=4, c=4)
    remedy = r"""'model\.dense=\["layers\.b","layers\.c"\]'$"""
    with pytest.raises(RunError, match=rf"^block\.layers\.b and others: never called .*{remedy}"):
        collected(block, [torch.ones(1, 2, 4)])


@pytest.mark.parametrize("value", [torch.nan, torch.inf, 1e30])  # 1e30 has no finite square
def test_an_input_that_is_not_finite_is_named(value: float) -> None:
    block = Block(lambda layers, x: [layer(x) for layer in layers.values()], a=4, b=4)
    x = torch.ones(1, 2, 4)
    x[0, 0, 0], x[0, 1, 0] = value, -value
    with pytest.raises(RunError, match=r"^block\.layers\.a: .*NaN.*model\.dtype=float32"):
        collected(block, [x], frozenset({Statistic.NORM}))


@pytest.mark.parametrize(
    ("length", "total", "sampled"),
    [
        (640, 64, 10),
        (641, 64, 11),
        (640, 2, 64),
        (640, 3, 43),
        (640, 1, 128),
        (10, 1, 10),
        (10, 1000, 1),
    ],
)
def test_a_sample_is_one_token_in_64_and_at_least_128_tokens(
    length: int, total: int, sampled: int
) -> None:
    block = Block(lambda layers, x: layers["a"](x), a=2)
    batches = [torch.randn(2, length, 2), torch.randn(1, length, 2)]
    found = collected(block, batches, frozenset({SAMPLE}), total=total)["a"].sample
    assert found is not None
    assert torch.equal(found, torch.cat([spread(x, sampled) for x in batches]))


class Routed(nn.Module):
    """Experts that receive the tokens `parts` of the flattened input, one list per forward."""

    def __init__(self, parts: list[list[slice]]) -> None:
        super().__init__()
        self.experts = nn.ModuleList(nn.Linear(2, 2) for _ in parts[0])
        self.parts = iter(parts)

    def forward(self, x: Tensor) -> None:
        for expert, part in zip(self.experts, next(self.parts), strict=True):
            expert(x.flatten(0, 1)[part])


def test_an_expert_samples_its_own_tokens_in_proportion() -> None:
    """Of 300 tokens per sequence 5 are sampled, so that an expert samples one of its own in 60."""
    parts = [[slice(0, 60), slice(60, 121), slice(121, 600)], [slice(0), slice(600), slice(0, 1)]]
    batches: list[Any] = [torch.randn(2, 300, 2), torch.randn(2, 300, 2)]
    needs = MOMENTS | {SAMPLE}
    found = collected(Routed(parts), batches, needs, total=100)
    for expert, counts in enumerate([(1, 0), (2, 10), (8, 1)]):
        own = [x.flatten(0, 1)[part[expert]] for x, part in zip(batches, parts, strict=True)]
        statistics = found[f"experts.{expert}"]
        samples = [spread(x[None], count) for x, count in zip(own, counts, strict=True)]
        assert torch.equal(statistics.sample, torch.cat(samples))
        assert (statistics.tokens, statistics.sequences) == (sum(map(len, own)), 4)
        torch.testing.assert_close(statistics.mean, torch.cat(own).mean(0))


def test_experts_with_the_same_input_are_counted_each() -> None:
    block = Routed([[slice(0, 3), slice(0, 3)]])
    found = collected(block, [torch.randn(1, 5, 2)])
    assert found["experts.0"] is not found["experts.1"]
    assert found["experts.0"].tokens == found["experts.1"].tokens == 3


def test_an_expert_without_tokens_has_no_statistics() -> None:
    """Whether it is called with none or not at all."""
    block = Routed([[slice(0), slice(1, 5)]])
    block.experts.append(nn.Linear(2, 2))
    block.forward = lambda x: [block.experts[i](x[0, :n]) for i, n in enumerate((0, 5))]
    assert set(collected(block, [torch.randn(1, 5, 2)])) == {"experts.1"}


def test_a_linear_called_twice_counts_both_inputs() -> None:
    block = Block(
        lambda layers, x: (layers["a"](x), layers["a"](x + 1), layers["b"](x + 2)), a=4, b=4
    )
    found = collected(block, [x := torch.randn(2, 3, 4)])
    assert_mean(found["a"], torch.cat([x, x + 1], 1))
    assert_mean(found["b"], x + 2)


def test_linears_that_share_only_part_of_their_inputs_are_refused() -> None:
    block = Block(lambda layers, x: (layers["a"](x), layers["b"](x), layers["a"](x + 1)), a=4, b=4)
    remedy = r"""'model\.dense=\["layers\.b"\]'$"""
    with pytest.raises(RunError, match=rf"^block\.layers\.b: called several times .*{remedy}"):
        collected(block, [torch.randn(2, 3, 4)])


@pytest.mark.parametrize("form", ["flat", "tokens first", "by keyword", "table"])
def test_inputs_of_any_shape_are_counted_by_sequence(form: str) -> None:
    """A table of positions belongs to no sequence: all its rows count as one."""

    def run(layers: nn.ModuleDict, x: Tensor) -> None:
        if form == "flat":
            layers["a"](x.flatten(0, 1))
        elif form == "tokens first":
            layers["a"](x.transpose(0, 1))
        elif form == "by keyword":
            layers["a"](input=x)
        else:
            layers["a"](x[0])

    x = torch.randn(2, 3, 4)
    found = collected(Block(run, a=4), [x])["a"]
    seen = x[:1] if form == "table" else x
    assert_mean(found, seen)
    torch.testing.assert_close(found.var, seen.flatten(0, 1).var(0, correction=0))
    if form != "table":
        torch.testing.assert_close(found.sequence_var, seen.var(1, correction=0).mean(0))
