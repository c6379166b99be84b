"""What the walk promises to whoever saves its blocks, and to whoever watches it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dsnot_exp.models.blocks import find_blocks
from dsnot_exp.walk.hidden_states import States
from dsnot_exp.walk.loop import walk
from dsnot_exp.walk.sequences import Sequences
from dsnot_exp.walk.view import BlockView
from tests.support.families import build, tokens
from tests.support.walking import MOMENTS, Watch

CPU = torch.device("cpu")
BATCHES = [tokens(3, 12, seed=1), tokens(2, 12, seed=2)]


@dataclass
class Lazy:
    """Writes a block's hidden states as late as it may: when it is asked to settle.

    written: the states after each block
    """

    finished: int = 0
    available: bool = True
    events: list[str] = field(default_factory=list)
    written: dict[int, list[Tensor]] = field(default_factory=dict)
    waiting: tuple[int, Iterable[Tensor]] | None = None
    restored: list[Tensor] = field(default_factory=list)

    def recall(self, sequences: Sequences) -> bool:
        for i, states in enumerate(self.restored):
            sequences.states[i] = states
        return self.available

    def keep(self, view: BlockView, solved: Any) -> None:
        assert self.waiting is None
        self.events.append(f"keep {view.index}: {solved}")
        self.waiting = view.index, view.sequences.states.snapshot()

    def settle(self) -> None:
        if self.waiting is not None:
            (index, states), self.waiting = self.waiting, None
            self.written[index] = list(states)
            self.events.append(f"settled {index}")


@dataclass
class Solver(Watch):
    """Halves every weight, so that it matters which blocks are solved."""

    def __call__(self, view: BlockView) -> str:  # type: ignore[override]
        self.seen[view.name] = view.statistics(MOMENTS)
        for linear in view.linears.values():
            linear.write(linear.weight / 2)
        return view.name


def sequences_of(model: nn.Module, place: str, folder: Path, **options: Any) -> Sequences:
    states = States(CPU, place, folder)
    return Sequences(model, find_blocks(model), list(BATCHES), states, **options)


@pytest.mark.parametrize("place", ["device", "memory", "disk"])
def test_a_block_is_on_disk_before_its_states_change(place: str, tmp_path: Path) -> None:
    model, keeper, expected = build("llama"), Lazy(), []

    @dataclass
    class Noting(Solver):
        def __call__(self, view: BlockView) -> str:  # type: ignore[override]
            expected.append([states.clone() for states in view.sequences.states])
            return super().__call__(view)

    walk(sequences_of(model, place, tmp_path), Noting(), keeper=keeper)
    names = [f"model.layers.{index}" for index in range(3)]
    assert keeper.events == [
        f"keep 0: {names[0]}", "settled 0", f"keep 1: {names[1]}", "settled 1",
        f"keep 2: {names[2]}", "settled 2",
    ]  # fmt: skip
    assert keeper.waiting is None
    for index in (0, 1):  # what a block leaves is what the next one receives
        for written, given in zip(keeper.written[index], expected[index + 1], strict=True):
            assert torch.equal(written, given)


@pytest.mark.parametrize("available", [True, False], ids=["states kept", "states lost"])
@pytest.mark.parametrize("finished", [0, 1, 2, 3])
def test_a_walk_resumes_after_the_finished_blocks(
    finished: int, available: bool, tmp_path: Path
) -> None:
    first, keeper, whole = build("llama"), Lazy(), Solver()
    walk(sequences_of(first, "memory", tmp_path), whole, keeper=keeper)
    model, solver, blocks = build("llama"), Solver(), []
    for index in range(finished):
        model.model.layers[index].load_state_dict(first.model.layers[index].state_dict())
    states = keeper.written[finished - 1] if finished and available else []
    again = Lazy(finished, available or finished == 0, restored=states)
    entered: list[int] = []

    @contextmanager
    def fetch(block: nn.Module) -> Iterator[nn.Module]:
        entered.append(list(model.model.layers).index(block))
        yield block

    sequences = sequences_of(model, "memory", tmp_path, fetch=fetch)
    walk(sequences, solver, keeper=again, on_block=lambda: blocks.append(len(solver.seen)))
    assert list(solver.seen) == [f"model.layers.{index}" for index in range(finished, 3)]
    kept = [event for event in again.events if event.startswith("keep")]
    assert kept == [f"keep {index}: model.layers.{index}" for index in range(finished, 3)]
    assert blocks == [max(0, index - finished) for index in range(1, 4)]
    for name, statistics in solver.seen.items():
        for linear, found in statistics.items():
            assert torch.equal(found.mean, whole.seen[name][linear].mean), (name, linear)
    for (name, own), other in zip(
        model.state_dict().items(), first.state_dict().values(), strict=True
    ):
        assert torch.equal(own, other), name
    if finished == 3:
        assert entered == []  # nothing is left to do: no sequence goes through any block
    elif available or finished == 0:
        assert entered == [0, *range(finished, 3)]  # the first to learn what its class returns
    else:
        assert entered == [0, 0, 1, 2]


@pytest.mark.parametrize("place", ["device", "memory"])
def test_a_snapshot_in_memory_does_not_change(place: str) -> None:
    states, given = States(CPU, place), [torch.randn(2, 3, 4), torch.randn(1, 3, 4)]
    for batch in given:
        states.append(batch)
    snapshot = states.snapshot()
    states[0] = torch.zeros(2, 3, 4)
    states.split(1)
    assert all(torch.equal(a, b) for a, b in zip(snapshot, given, strict=True))


def test_cleared_states_on_disk_are_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []
    pwrite = os.pwrite

    def noted(file: int, data: memoryview, offset: int) -> int:
        written.append(offset + len(data))
        return pwrite(file, data, offset)

    monkeypatch.setattr("os.pwrite", noted)
    states = States(CPU, "disk", tmp_path)
    for _ in range(3):
        states.clear()
        states.append(torch.ones(2, 3, 4))
        states.append(torch.ones(1, 3, 4))
    assert max(written) == 4 * 3 * 3 * 4


def test_the_phases_of_a_walk_are_timed(tmp_path: Path) -> None:
    phases: list[str] = []

    @contextmanager
    def timed(phase: str) -> Iterator[None]:
        phases.append(phase)
        yield

    walk(sequences_of(build("llama"), "memory", tmp_path), Watch(MOMENTS), timed=timed)
    block = ["load", "calibrate", "keep", "calibrate", "keep"]
    assert phases == ["calibrate", *block, *block, "load", "calibrate", "keep", "keep", "keep"]
