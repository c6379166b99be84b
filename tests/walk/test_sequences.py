"""Micro-batches on out of memory, and hidden states on the device, in memory and on disk."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from dsnot_exp.models.blocks import find_blocks
from dsnot_exp.utils.errors import RunError
from dsnot_exp.walk.hidden_states import States, choose_place
from tests.support.command import Command, toy_arguments
from tests.support.families import build, tokens
from tests.support.walking import MOMENTS, Watch, walked

CPU = torch.device("cpu")
BATCHES = [tokens(4, 12, seed=1), tokens(3, 12, seed=2)]


def small_memory(model: torch.nn.Module, most: int, block: int, after: int = 0) -> None:
    """From its `after`-th forward on, a block has room for `most` sequences at a time."""
    forwards = []

    def full(module: object, args: tuple[torch.Tensor, ...]) -> None:
        forwards.append(len(args[0]))
        if len(forwards) > after and len(args[0]) > most:
            raise torch.OutOfMemoryError("CUDA out of memory")

    find_blocks(model)[1][block].mlp.register_forward_pre_hook(full)


@pytest.mark.parametrize("place", ["memory", "disk"])
@pytest.mark.parametrize("after", [0, 2, 3])  # in the calibrating pass, or in the middle of either
@pytest.mark.parametrize(("most", "halved"), [(2, [2]), (1, [2, 1])])
def test_out_of_memory_halves_the_micro_batches_and_changes_no_statistic(
    most: int, halved: list[int], after: int, place: str
) -> None:
    told: list[int] = []
    plenty, little = build("llama"), build("llama")
    expected = walked(plenty, BATCHES, usual := Watch(MOMENTS))
    small_memory(little, most, 1, after)
    states = States(CPU, place)
    cramped = Watch(MOMENTS)
    found = walked(little, BATCHES, cramped, states=states, on_halved=told.append)
    assert told == halved
    torch.testing.assert_close(torch.cat(found), torch.cat(expected))
    for block, statistics in usual.seen.items():
        for name, own in statistics.items():
            other = cramped.seen[block][name]
            assert (other.sequences, other.tokens) == (own.sequences, own.tokens)
            torch.testing.assert_close(other.mean, own.mean)
            torch.testing.assert_close(other.var, own.var)


def test_out_of_memory_with_one_sequence_names_the_remedy() -> None:
    model = build("llama")
    small_memory(model, 0, 0)
    with pytest.raises(RunError, match=r"calib\.seqlen"):
        walked(model, BATCHES, Watch(MOMENTS), remedy="lower calib.seqlen")


@pytest.mark.parametrize("place", ["device", "memory", "disk"])
def test_states_return_what_was_stored(place: str, tmp_path: Path) -> None:
    states = States(CPU, place, tmp_path)
    given = [torch.randn(4, 3, 5).bfloat16(), torch.randn(2, 3, 5).bfloat16()]
    for batch in given:
        states.append(batch)
    states[1] = given[1] = torch.randn(2, 3, 5).bfloat16()
    assert all(torch.equal(a, b) for a, b in zip(states, given, strict=True))
    states.split(3)
    assert [len(batch) for batch in states] == [3, 1, 2]
    states[1] = states[1] + 1
    assert torch.equal(
        torch.cat(list(states)), torch.cat([given[0][:3], given[0][3:] + 1, given[1]])
    )
    states.close()
    assert list(tmp_path.iterdir()) == []


def test_states_are_stored_in_the_first_place_with_room(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = SimpleNamespace(available=1000)
    monkeypatch.setattr("psutil.virtual_memory", lambda: memory)
    monkeypatch.setattr("dsnot_exp.utils.accelerator.free_memory", lambda device: 100)
    cuda = torch.device("cuda")
    assert choose_place("auto", 10, cuda) == "device"
    assert choose_place("auto", 100, cuda) == "memory"
    assert choose_place("auto", 500, cuda) == "disk"
    assert choose_place("device", 500, cuda) == "device"
    assert choose_place("auto", 100, CPU) == "memory"


def test_the_place_of_the_states_does_not_change_the_masks(
    command: Command, tmp_path: Path
) -> None:
    words = toy_arguments(tmp_path)
    found = [command(*words, f"calib.states={place}", run=place) for place in ("memory", "disk")]
    assert [done.code for done in found] == [0, 0]
    assert found[0].result["masks_sha256"] == found[1].result["masks_sha256"]
