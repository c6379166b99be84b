"""The device's memory: its own, of limited size, garbage until it is written."""

from __future__ import annotations

import ctypes
import faulthandler
import gc
import os
import signal
from collections.abc import Callable

import pytest
import torch

MEMORY = 64 * 2**20  # bytes, as test_device.py sets it
MIB = 2**20


def dies_of_a_bad_address(act: Callable[[], object]) -> bool:
    child = os.fork()
    if not child:
        faulthandler.disable()
        act()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGSEGV


@pytest.fixture(scope="module", autouse=True)
def _collected() -> None:
    gc.collect()  # takes a second where transformers is imported


@pytest.fixture(autouse=True)
def _empty() -> None:
    assert torch.accelerator.memory_allocated() == 0


def test_host_code_cannot_read_or_write_it() -> None:
    device = torch.ones(4, device="standin")
    assert dies_of_a_bad_address(lambda: ctypes.c_float.from_address(device.data_ptr()).value)
    assert dies_of_a_bad_address(lambda: ctypes.memset(device.data_ptr(), 0, 4))
    host = torch.ones(4)
    assert not dies_of_a_bad_address(lambda: ctypes.memset(host.data_ptr(), 0, 4))


def test_a_tensor_of_it_is_no_array() -> None:
    with pytest.raises(TypeError, match=r"can't convert standin:0 .* to numpy\. Use Tensor\.cpu"):
        torch.ones(4, device="standin").numpy()


def test_beyond_its_size_it_is_out_of_memory() -> None:
    half = torch.empty(MEMORY // 2, dtype=torch.uint8, device="standin")
    with pytest.raises(torch.OutOfMemoryError, match=r"48 MiB.*capacity of 64 MiB.*32 MiB is free"):
        torch.empty(MEMORY * 3 // 4, dtype=torch.uint8, device="standin")
    del half
    torch.empty(MEMORY, dtype=torch.uint8, device="standin")


def test_results_count_too() -> None:
    half = torch.zeros(MEMORY // 2, dtype=torch.uint8, device="standin")
    with pytest.raises(torch.OutOfMemoryError):
        half.float()
    with pytest.raises(torch.OutOfMemoryError):
        half.sort()


def test_what_was_freed_becomes_one_block_again() -> None:
    blocks = [torch.empty(MIB, dtype=torch.uint8, device="standin") for _ in range(64)]
    for block in (3, 1, 2):
        blocks[block] = torch.empty(0)
    torch.empty(3 * MIB, dtype=torch.uint8, device="standin")


def test_its_statistics() -> None:
    accelerator = torch.accelerator
    assert accelerator.get_memory_info() == (MEMORY, MEMORY)
    accelerator.reset_peak_memory_stats(0)
    accelerator.reset_peak_memory_stats(1)
    kept = torch.empty(MIB, dtype=torch.uint8, device="standin")
    torch.empty(2 * MIB, dtype=torch.uint8, device="standin")
    assert accelerator.memory_allocated() == MIB
    assert accelerator.max_memory_allocated() == 3 * MIB
    assert accelerator.get_memory_info() == (MEMORY - MIB, MEMORY)
    accelerator.reset_peak_memory_stats()
    assert accelerator.max_memory_allocated() == MIB
    assert accelerator.max_memory_allocated(1) == 0
    accelerator.empty_cache()
    assert kept.numel() == MIB


@pytest.mark.parametrize("again", [False, True], ids=["fresh", "used before"])
def test_it_holds_garbage_until_it_is_written(again: bool) -> None:
    if again:
        torch.ones(1000, device="standin")
    assert torch.empty(1000, device="standin").isnan().all()
    assert torch.empty_strided((10, 10), (1, 10), device="standin").isnan().all()


def test_resizing_keeps_what_was_there() -> None:
    tensor = torch.arange(4.0, device="standin")
    tensor.resize_(2, 1000)
    assert tensor.flatten()[:4].tolist() == [0, 1, 2, 3]
    tensor.untyped_storage().resize_(8)
    assert torch.accelerator.memory_allocated() == 512
    assert tensor.flatten()[:2].tolist() == [0, 1]


def test_a_view_shares_it() -> None:
    tensor = torch.zeros(4, 4, device="standin")
    tensor.t()[1:, 2:].unfold(1, 2, 1).add_(1)
    same = torch.empty(0, device="standin").set_(tensor)
    same[0, 0] = 7
    expected = torch.zeros(4, 4)
    expected.t()[1:, 2:].unfold(1, 2, 1).add_(1)
    expected[0, 0] = 7
    assert torch.equal(tensor.cpu(), expected)
