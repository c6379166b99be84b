"""Pinned memory; copies with non_blocking=True, which take effect at the next synchronisation."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

device = torch.get_device_module("standin")


def pinned(*numbers: float) -> torch.Tensor:
    return torch.tensor(numbers, dtype=torch.float32).pin_memory()


def test_pinned_memory_is_known_and_counted() -> None:
    device.reset_counters()
    memory = torch.empty(1000, pin_memory=True)
    assert memory.is_pinned()
    assert memory[10:].is_pinned()
    assert not torch.empty(1000).is_pinned()
    assert pinned(1, 2).tolist() == [1, 2]
    counters = device.counters()
    assert counters["pinned_allocations"] == 2
    assert counters["pinned_bytes"] == 4000 + 8
    with pytest.raises(RuntimeError, match="Only dense CPU tensors can be pinned"):
        torch.empty(4, device="standin", pin_memory=True)


def test_bytes_are_counted() -> None:
    device.reset_counters()
    tensor = torch.ones(10).to("standin")
    tensor[:3].cpu()
    tensor.clone()
    counters = device.counters()
    assert counters["bytes_to_device"] == 40
    assert counters["bytes_to_host"] == 12


WAITS: dict[str, Callable[[], object]] = {
    "synchronize": lambda: torch.accelerator.synchronize(),
    "a stream": lambda: torch.accelerator.current_stream().synchronize(),
    "an event": lambda: torch.accelerator.current_stream().record_event().synchronize(),
    "a blocking copy to the host": lambda: torch.ones(1, device="standin").cpu(),
    "a blocking copy to the device": lambda: torch.ones(1).to("standin"),
    "item": lambda: torch.zeros(1, device="standin").item(),
    "equal": lambda: torch.zeros(1, device="standin").equal(torch.ones(1, device="standin")),
}


@pytest.mark.parametrize("wait", WAITS.values(), ids=WAITS.keys())
def test_the_host_has_garbage_until_it_waits(wait: Callable[[], object]) -> None:
    tensor = torch.tensor([1.0, 2.0], device="standin")
    host = tensor.to("cpu", non_blocking=True)
    own = torch.zeros(2).copy_(tensor, non_blocking=True)
    tensor += 1  # later in the stream: not seen by the copies
    assert host.isnan().all()
    assert own.isnan().all()
    wait()
    assert host.tolist() == own.tolist() == [1, 2]


def test_the_host_is_read_when_the_copy_takes_effect() -> None:
    buffer = pinned(1, 2)
    first = buffer.to("standin", non_blocking=True)
    buffer.fill_(5)
    second = buffer.to("standin", non_blocking=True)
    torch.accelerator.synchronize()
    buffer.fill_(7)
    assert first.tolist() == second.tolist() == [5, 5]
    waited = buffer.to("standin")
    buffer.fill_(8)
    assert waited.tolist() == [7, 7]


def test_kernels_wait_for_copies_to_the_device() -> None:
    tensor = pinned(1, 2).to("standin", non_blocking=True)
    doubled = tensor * 2
    assert doubled.tolist() == [2, 4]


def test_a_pending_copy_keeps_no_memory_that_is_needed() -> None:
    free, _ = torch.accelerator.get_memory_info()
    torch.empty(free // 2, dtype=torch.uint8).to("standin", non_blocking=True)
    torch.empty(free, dtype=torch.uint8, device="standin")
