"""Several processes played by threads of one test: the real sharing, without torchrun."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Barrier
from typing import Any, TypeVar

import torch
from torch import Tensor

from dsnot_exp.utils.distributed import Ranks
from tests.support.waiting import BOUND

T = TypeVar("T")


@dataclass(frozen=True)
class ThreadRanks(Ranks):
    """Exchanges values through a list that all threads of the group share."""

    barrier: Barrier = field(kw_only=True)
    slots: list[Any] = field(kw_only=True)

    def gather(self, value: T) -> list[T]:
        self.slots[self.rank] = value
        self.barrier.wait(BOUND)
        values = list(self.slots)
        self.barrier.wait(BOUND)
        return values

    def of_first(self, value: T) -> T:
        return self.gather(value)[0]

    def sum(self, tensor: Tensor) -> Tensor:
        return torch.stack(self.gather(tensor)).sum(0)

    def concat(self, part: Tensor) -> Tensor:
        return torch.cat(self.gather(part))

    def wait(self) -> None:
        self.gather(None)


def in_processes(count: int, run: Callable[[Ranks], T]) -> list[T]:
    """`run(ranks)` in each of `count` processes that work together."""
    barrier, slots = Barrier(count), [None] * count

    def one(ranks: Ranks) -> T:
        try:
            return run(ranks)
        except BaseException:
            barrier.abort()  # the others would wait for this one
            raise

    with ThreadPoolExecutor(count) as pool:
        ranks = [ThreadRanks(rank, count, barrier=barrier, slots=slots) for rank in range(count)]
        return list(pool.map(one, ranks))
