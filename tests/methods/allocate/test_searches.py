"""The slope and the levels that a search finds, within bounds, at the same total, also after an
interruption."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from dsnot_exp.methods.allocate.linear import Linear
from dsnot_exp.methods.allocate.search import Search
from dsnot_exp.methods.allocation import Site
from dsnot_exp.methods.patterns import Pattern, Unstructured

SITES = {f"b.{i}.{n}": Site(f"b.{i}", 40, 100 + 50 * n) for i in range(5) for n in range(2)}
WEIGHTS = sum(site.weights for site in SITES.values())


class Killed(Exception):
    pass


@dataclass
class Notes:
    """A memory that can fail after so many steps."""

    state: Any = None
    left: int = 1000

    def recall(self) -> Any:
        return self.state

    def keep(self, state: Any) -> None:
        if not self.left:
            raise Killed
        self.left -= 1
        self.state = state


@dataclass
class To:
    """The distance to an allocation."""

    goal: Mapping[str, float]
    asked: list[int | None] = field(default_factory=list)

    def __call__(self, patterns: Mapping[str, Pattern], sequences: int | None = None) -> float:
        self.asked.append(sequences)
        total = sum(p.sparsity * SITES[layer].weights for layer, p in patterns.items())
        assert abs(total / WEIGHTS - 0.6) < 0.005
        assert all(0 <= p.sparsity <= 0.95 for p in patterns.values())
        return sum((patterns[layer].sparsity - s) ** 2 for layer, s in self.goal.items())


def found(method: Linear | Search, to: To, memory: Notes | None = None) -> dict[str, float]:
    patterns = method.search(SITES, Unstructured(0.6), to, memory or Notes(), seed=3)
    return {layer: p.sparsity for layer, p in patterns.items()}


def test_the_slope_with_the_smallest_distance_is_taken() -> None:
    depth = {layer: int(layer.split(".")[1]) for layer in SITES}
    goal = {layer: 0.6 + 0.35 * (d / 4 - 0.5) for layer, d in depth.items()}
    to = To(goal)
    assert found(Linear(slopes=5), to) == pytest.approx(goal, abs=0.02)
    assert len(to.asked) == 5
    steepest = found(Linear(slopes=2), To({"b.4.0": 1.0}))
    assert steepest["b.4.0"] == pytest.approx(0.95, abs=0.02)
    assert steepest["b.0.0"] == pytest.approx(0.25, abs=0.02)
    assert found(Linear(), To({"b.4.0": 0.1}))["b.4.0"] == pytest.approx(0.6, abs=0.01)


def test_a_search_comes_close_to_the_best_levels() -> None:
    goal = {layer: 0.5 if ".0" in layer[3:] else 0.6 + 0.1 * 100 / 150 for layer in SITES}
    search, to = Search(generations=60, level=0.05), To(goal)
    start = To(goal)(dict.fromkeys(SITES, Unstructured(0.6)))
    assert To(goal)({n: Unstructured(s) for n, s in found(search, to).items()}) < 0.1 * start
    assert {2, None} == {*to.asked}  # first on a quarter of the sequences


def test_by_block_the_layers_of_a_block_go_together() -> None:
    levels = found(Search(by="block", generations=20, level=0.05), To({"b.0.0": 0.4}))
    for block in range(5):
        own = [s for layer, s in levels.items() if layer.startswith(f"b.{block}.")]
        assert max(own) - min(own) < 0.03
    assert levels["b.0.0"] < 0.55


@pytest.mark.parametrize("method", [Linear(), Search(generations=9)], ids=["linear", "search"])
def test_an_interrupted_search_resumes_with_the_same_result(method: Linear | Search) -> None:
    goal = {"b.4.0": 0.8, "b.0.0": 0.4}
    whole, memory, second = found(method, To(goal)), Notes(left=4), To(goal)
    with pytest.raises(Killed):
        found(method, To(goal), memory)
    first = To(goal)
    found(method, first)
    assert found(method, second, Notes(memory.state)) == whole
    assert len(second.asked) < len(first.asked)
