"""What is known as a whole only, and divided by the number of blocks: the released code, and the
allocation that `best` makes before its first block."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from statistics import median

from torch import Tensor

from dsnot_exp.methods.allocate.fisher import Fisher
from dsnot_exp.models.placement import Placed
from dsnot_exp.run.clock import Clock
from dsnot_exp.utils import accelerator
from dsnot_exp.walk.allocation import allocated
from tests.benchmarks.authors import wanda_dsnot
from tests.benchmarks.gpu.bench import Bench, Row, Subject
from tests.benchmarks.gpu.homes import Home
from tests.benchmarks.gpu.passes import calibration, of_shape, repeated
from tests.benchmarks.walks import plan_of_method

RELEASED, ALLOCATION = "released code, wanda+dsnot", "allocate=fisher"


def allocation(home: Home) -> Subject:
    def once(bench: Bench, placed: Placed, ids: Tensor) -> None:
        recipe = plan_of_method("alps", bench, "false").recipe
        assert recipe is not None
        allocated(placed, ids, replace(recipe, allocator=Fisher()))

    return _subject(home, ALLOCATION, once, like="sparsegpt")


def released(home: Home) -> Subject:
    """The authors' code on the same model and tokens."""

    def once(bench: Bench, placed: Placed, ids: Tensor) -> None:
        assert bench.authors is not None
        wanda_dsnot(bench.authors, placed.model, ids, bench.sparsity, bench.max_cycles)()

    return _subject(home, RELEASED, once, like="wanda+dsnot")


def _subject(
    home: Home, method: str, once: Callable[[Bench, Placed, Tensor], None], like: str
) -> Subject:
    """like: the method whose work it is about as much as"""

    def run(bench: Bench) -> list[Row]:
        ids = calibration(bench)

        def timed(ids: Tensor) -> tuple[float, dict[str, int]]:
            placed = home.open(bench)
            accelerator.wait(bench.device)
            clock = Clock(bench.device)
            once(bench, placed, ids)
            accelerator.wait(bench.device)
            return time.perf_counter() - clock.start, clock.memory()

        timed(ids[:2])
        found = repeated(bench, lambda: timed(ids), lambda one: one[0])
        seconds = [total / home.layers for total, _ in found]
        return [
            of_shape(bench, home, method)
            | {
                "seconds": seconds,
                "median": median(seconds),
                "whole_seconds": [total for total, _ in found],
                "computed_seconds": median(seconds) * home.of,
            }
            | {kind: max(memory[kind] for _, memory in found) for kind in found[0][1]}
        ]

    return Subject(f"{home.group}/{method}", run, lambda bench: home.work(like, bench))
