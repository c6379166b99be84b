"""Statistics that several processes collect together, here threads of one process."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn

from dsnot_exp.methods.statistics import InputStatistics
from dsnot_exp.models.linears import linears
from dsnot_exp.utils.distributed import ALONE, Ranks
from dsnot_exp.walk.collect import Collector, Orders
from tests.support.ranks import in_processes
from tests.support.walking import GRAM, MOMENTS, SAMPLE


class Mixture(nn.Module):
    """q and k share their input; a token's first number chooses its expert."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.o = (nn.Linear(4, 4) for _ in range(3))
        self.experts = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))

    def forward(self, x: Tensor) -> None:
        self.o(self.q(x) + self.k(x))
        flat = x.flatten(0, 1)
        for number, expert in enumerate(self.experts):
            own = flat[flat[:, 0] == number]
            if len(own):
                expert(own)


def collected(block: nn.Module, x: Tensor, ranks: Ranks, total: int) -> dict[str, InputStatistics]:
    needs = MOMENTS | {GRAM, SAMPLE}
    with torch.no_grad(), Collector("block", linears(block), needs, total, Orders()) as collector:
        for sequence in x.split(1):
            with collector.forward(*sequence.shape[:2]):
                block(sequence)
    return collector.finish(ranks)


def test_statistics_of_two_processes_equal_those_of_one() -> None:
    """The last sequence alone goes to expert 1, and none to expert 2."""
    x = torch.randn(5, 40, 4)
    x[..., 0] = 0
    x[4, ::2, 0] = 1
    block = Mixture()
    alone = collected(block, x, ALONE, 5)

    def share(ranks: Ranks) -> dict[str, InputStatistics]:
        return collected(deepcopy(block), x[ranks.share(len(x))], ranks, 5)

    together = in_processes(2, share)
    assert set(alone) == {"q", "k", "o", "experts.0", "experts.1"}
    for found in together:
        assert set(found) == set(alone)
        assert found["k"] is found["q"]
        for name, expected in alone.items():
            one = found[name]
            assert (one.tokens, one.sequences) == (expected.tokens, expected.sequences), name
            for key in ("mean", "var", "sequence_var", "norm", "gram"):
                torch.testing.assert_close(getattr(one, key), getattr(expected, key))
            assert torch.equal(one.sample, expected.sample), name
