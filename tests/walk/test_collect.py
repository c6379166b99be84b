"""Forwards that end once every linear has its input, and those that must not."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from dsnot_exp.models.linears import linears
from dsnot_exp.utils.distributed import ALONE
from dsnot_exp.walk.collect import Collector, Orders
from tests.support.walking import MOMENTS


class Path(nn.Module):
    """Calls its linears in the order of `path`; `ended` counts the forwards that got through."""

    def __init__(self, names: str) -> None:
        super().__init__()
        self.layers = nn.ModuleDict({name: nn.Linear(4, 4, bias=False) for name in names})
        self.path, self.ended = names, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for name in self.path:
            x = self.layers[name](x)
        self.ended += 1
        return x


def heard(block: Path, orders: Orders, paths: Sequence[str]) -> dict:
    """The statistics after a forward for each of the paths."""
    total = 2 * len(paths)
    with torch.no_grad(), Collector("block", linears(block), MOMENTS, total, orders) as collector:
        for block.path in paths:
            with collector.forward(2, 3):
                block(torch.ones(2, 3, 4))
    return collector.finish(ALONE)


def test_after_one_full_forward_later_ones_end_at_the_last_linear() -> None:
    block, orders = Path("abc"), Orders()
    found = heard(block, orders, ["acb"] * 5)
    assert block.ended == 1
    assert {s.tokens for s in found.values()} == {5 * 6}
    heard(block, orders, ["acb"] * 5)  # as another block of this make
    assert block.ended == 1


def test_both_inputs_of_a_linear_that_is_called_twice_are_counted() -> None:
    block = Path("ab")
    found = heard(block, Orders(), ["aba"] * 4)
    assert block.ended == 1
    assert found["layers.a"].tokens == 2 * found["layers.b"].tokens == 2 * 4 * 6


def test_a_forward_with_another_order_of_calls_runs_to_its_end() -> None:
    block = Path("ab")
    found = heard(block, Orders(), ["ab", "ba", "ab"])
    assert block.ended == 2
    assert found["layers.a"].tokens == 3 * 6


def test_forwards_through_experts_always_run_to_their_end() -> None:
    class Routed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.experts = nn.ModuleList([Path("a"), Path("b")])
            self.ended = 0

        def forward(self, x: torch.Tensor, first: bool) -> torch.Tensor:
            for expert in self.experts[: 1 if first else 2]:
                x = expert(x)
            self.ended += 1
            return x

    block = Routed()
    with torch.no_grad(), Collector("block", linears(block), MOMENTS, 6, {}) as collector:
        for first in (False, True, False):
            with collector.forward(2, 3):
                block(torch.ones(2, 3, 4), first)
    assert block.ended == 3
    found = collector.finish(ALONE)
    assert found["experts.0.layers.a"].tokens == 3 * 6
    assert found["experts.1.layers.b"].tokens == 2 * 6
