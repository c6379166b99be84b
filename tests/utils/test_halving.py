"""Halving on out of memory: sizes, messages, and what is released in between."""

from __future__ import annotations

import logging
import weakref
from types import SimpleNamespace

import psutil
import pytest
import torch

from dsnot_exp.utils import accelerator
from dsnot_exp.utils.batch_size import fitting, halve_on_out_of_memory, per_forward
from dsnot_exp.utils.errors import RunError

CPU = torch.device("cpu")


def full(most: int, sizes: list[int]) -> object:
    def run(size: int) -> str:
        sizes.append(size)
        if size > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return f"ran with {size}"

    return run


@pytest.mark.parametrize(
    ("size", "most", "tried"),
    [(8, 8, [8]), (8, 3, [8, 4, 2]), (5, 1, [5, 2, 1]), (3, 2, [3, 1]), (1, 1, [1])],
)
def test_sizes_are_halved_until_one_fits(size: int, most: int, tried: list[int]) -> None:
    sizes: list[int] = []
    halved: list[int] = []
    found = halve_on_out_of_memory(size, full(most, sizes), "", halved.append)
    assert found == f"ran with {tried[-1]}"
    assert sizes == tried
    assert halved == tried[1:]


@pytest.mark.parametrize(("size", "tried"), [(8, [8, 4, 2, 1]), (3, [3, 1]), (1, [1])])
def test_out_of_memory_with_one_sequence_names_the_remedy(size: int, tried: list[int]) -> None:
    sizes: list[int] = []
    halved: list[int] = []
    with pytest.raises(RunError, match=r"memory.* one sequence .*; sell the lamp") as error:
        halve_on_out_of_memory(size, full(-1, sizes), "sell the lamp", halved.append)
    assert isinstance(error.value.__cause__, torch.OutOfMemoryError)
    assert sizes == tried
    assert halved == tried[1:]


def test_halving_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        halve_on_out_of_memory(8, full(2, []), "")
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 2
    assert "out of memory" in lines[0]
    assert [line.rpartition(" ")[2] for line in lines] == ["4", "2"]


def test_memory_is_released_before_the_next_try() -> None:
    held: list[weakref.ref[torch.Tensor]] = []

    def run(size: int) -> None:
        assert not any(tensor() is not None for tensor in held)
        batch = torch.zeros(size)
        held.append(weakref.ref(batch))
        if size > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")

    halve_on_out_of_memory(4, run, "")
    assert len(held) == 3


def test_the_devices_cache_is_emptied_before_the_next_try(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[object] = []
    monkeypatch.setattr(accelerator, "present", lambda: torch.device("cuda"))
    monkeypatch.setattr("torch.accelerator.empty_cache", lambda: events.append("empty"))
    halve_on_out_of_memory(4, full(1, events), "")
    assert events == [4, "empty", 2, "empty", 1]


def test_a_forward_takes_4096_tokens_but_at_least_one_sequence() -> None:
    assert [per_forward(length) for length in (1, 1024, 1025, 4096, 5000)] == [4096, 4, 3, 1, 1]


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize(("sequences", "expected"), [(0.9, 1), (3, 3), (3.9, 3), (99, 16)])
def test_logits_take_a_sixteenth_of_the_memory(
    device: str, sequences: float, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of all memory, however much of it is free, for the same command to give the same digits."""
    total = int(sequences * 16 * 4 * 256 * 1000) + 1
    room = {"cpu": total, "cuda": total, "cuda" if device == "cpu" else "cpu": 1}
    memory = SimpleNamespace(total=room["cpu"], available=1, free=1)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    monkeypatch.setattr("torch.accelerator.get_memory_info", lambda _: (1, room["cuda"]))
    assert fitting(256, 1000, torch.device(device)) == expected
