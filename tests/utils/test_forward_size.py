"""How many sequences go into one forward: by their tokens, and by the memory of their logits."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from dsnot_exp.utils.batch_size import fitting, halve_on_out_of_memory, per_forward

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("seqlen", "sequences"),
    [(1, 4096), (256, 16), (2048, 2), (2049, 1), (4096, 1), (4097, 1), (10**6, 1)],
)
def test_a_forward_has_4096_tokens_and_one_sequence_at_least(seqlen: int, sequences: int) -> None:
    assert per_forward(seqlen) == sequences


@pytest.mark.parametrize("device", [CPU, CUDA], ids=str)
@pytest.mark.parametrize(("extra", "sequences"), [(0, 3), (-1, 2), (1, 3)])
def test_float32_logits_take_a_sixteenth_of_the_memory_at_most(
    extra: int, sequences: int, device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of all there is, not of what is free: the same command gives the same digits."""
    vocabulary, seqlen = 32_000, 128
    logits = 4 * vocabulary * seqlen  # bytes of a sequence's
    memory = 16 * 3 * logits + extra
    plenty = 2**50
    here, there = (memory, plenty) if device is CPU else (plenty, memory)
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(total=here, available=1))
    monkeypatch.setattr("torch.accelerator.get_memory_info", lambda device: (1, there))
    assert fitting(seqlen, vocabulary, device) == sequences
    assert fitting(seqlen, vocabulary // 2, device) == 2 * sequences + (extra == -1)
    assert fitting(seqlen, 1, device) == per_forward(seqlen)
    assert fitting(seqlen, 10**9, device) == 1


@pytest.mark.parametrize(
    ("room", "tried"),
    [(8, [8]), (7, [8, 4]), (3, [8, 4, 2]), (1, [8, 4, 2, 1])],
)
def test_a_batch_that_does_not_fit_is_halved_until_it_does(room: int, tried: list[int]) -> None:
    sizes: list[int] = []
    told: list[int] = []

    def run(size: int) -> str:
        sizes.append(size)
        if size > room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return "done"

    assert halve_on_out_of_memory(8, run, "", told.append) == "done"
    assert sizes == tried
    assert told == tried[1:]
