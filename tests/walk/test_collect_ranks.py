"""Statistics that several processes collect together, here threads of one process."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import dataclass, field
from threading import Barrier
from typing import Any

import torch
from torch import Tensor, nn

from dsnot_exp.methods.statistics import InputStatistics
from dsnot_exp.models.linears import linears
from dsnot_exp.utils.distributed import ALONE, Ranks
from dsnot_exp.walk.collect import Collector, Orders
from tests.support.walking import GRAM, MOMENTS, SAMPLE


@dataclass
class Meeting:
    """Where threads exchange their values."""

    size: int
    values: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.barrier = Barrier(self.size, timeout=120)
        self.values = [None] * self.size


@dataclass(frozen=True)
class Threads(Ranks):
    """`Ranks` between the threads of one process."""

    meeting: Meeting = field(default_factory=lambda: Meeting(1))

    def gather(self, value: Any) -> list[Any]:
        self.meeting.barrier.wait()
        self.meeting.values[self.rank] = value
        self.meeting.barrier.wait()
        return list(self.meeting.values)

    def sum(self, tensor: Tensor) -> Tensor:
        return torch.stack(self.gather(tensor)).sum(0)

    def concat(self, part: Tensor) -> Tensor:
        return torch.cat(self.gather(part))


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
    meeting = Meeting(2)
    ranks = [Threads(rank, 2, meeting) for rank in range(2)]
    with ThreadPoolExecutor(2) as pool:
        shares = [x[own.share(len(x))] for own in ranks]
        blocks = [deepcopy(block) for _ in ranks]
        together = list(pool.map(collected, blocks, shares, ranks, [5, 5]))
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
