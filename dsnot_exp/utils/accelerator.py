"""The accelerator of this machine: a GPU of NVIDIA or AMD (both `cuda`), of Intel (`xpu`), or any
other device that torch.accelerator knows.

Whatever differs between a CPU and an accelerator is asked here. What only one kind of accelerator
can do is tried by the code that uses it.
"""

from __future__ import annotations

from typing import Any

import psutil
import torch
from torch import Tensor

IN_MEMORY = ("cpu", "meta")
HAVE_FLOAT64 = ("cpu", "cuda")  # known without a question to the device, which would start it


def present() -> torch.device | None:
    """The kind of accelerator that this machine has."""
    return torch.accelerator.current_accelerator(check_available=True)


def count() -> int:
    return torch.accelerator.device_count() if present() is not None else 0


def is_accelerator(place: torch.device | Tensor) -> bool:
    """Whether `place` is an accelerator, or a tensor on one."""
    device = place.device if isinstance(place, Tensor) else place
    return device.type not in IN_MEMORY


def has_float64(device: torch.device) -> bool:
    """Apple's GPUs have no float64 numbers, nor do some of Intel's."""
    if device.type in HAVE_FLOAT64:
        return True
    try:
        return bool(torch.ones(1, dtype=torch.float64, device=device).item())
    except (RuntimeError, TypeError):
        return False


def free_memory(device: torch.device) -> int:
    """Bytes of the device's memory that no process uses."""
    return _memory(device)[0]


def total_memory(device: torch.device) -> int:
    """Bytes of memory that the device has, used or not."""
    return _memory(device)[1]


def _memory(device: torch.device) -> tuple[int, int]:
    if not is_accelerator(device):
        memory = psutil.virtual_memory()
        return memory.available, memory.total
    free, total = torch.accelerator.get_memory_info(device)
    return int(free), int(total)


def free_everywhere() -> dict[int | str, int]:
    """Free bytes of all accelerators, by number, and of main memory, as accelerate takes them."""
    kind, memory = present(), int(psutil.virtual_memory().available)
    devices = [torch.device(kind.type, number) for number in range(count())] if kind else []
    return {**{index(device): free_memory(device) for device in devices}, "cpu": memory}


def forget_peak(device: torch.device) -> None:
    """`peak_memory` counts from here."""
    if is_accelerator(device):
        torch.accelerator.reset_peak_memory_stats(device)


def peak_memory(device: torch.device) -> int:
    """The most bytes that this process's tensors took on the device at once; 0 for a CPU."""
    return int(torch.accelerator.max_memory_allocated(device)) if is_accelerator(device) else 0


def release_memory() -> None:
    """Return to the device what freed tensors have left with torch's allocator."""
    if present() is not None:
        torch.accelerator.empty_cache()


def wait(device: torch.device) -> None:
    """Wait until the device has nothing left to do."""
    if is_accelerator(device):
        torch.accelerator.synchronize(device)


def index(device: torch.device) -> int:
    """The device's number; without one, that of the current device."""
    return torch.accelerator.current_device_index() if device.index is None else device.index


def use(index: int) -> None:
    """Make device `index` the one that `device=auto` and `device=cuda` mean."""
    torch.accelerator.set_device_index(index)


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether the accelerator has instructions for products of bfloat16 numbers."""
    asked: Any = getattr(torch.get_device_module(device), "is_bf16_supported", None)
    return asked is not None and bool(asked(including_emulation=False))


def name(device: torch.device) -> str:
    """The product's name, or the type of the device."""
    module: Any = torch.get_device_module(device) if is_accelerator(device) else None
    named = getattr(module, "get_device_name", None)
    return device.type if named is None else str(named(device))
