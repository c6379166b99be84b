"""`torch.standin`: what torch, accelerate and transformers ask of a device's module."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import accelerator

_device = Any  # an index, "standin:1", a torch.device, or None for the current one


@dataclass(frozen=True)
class Properties:
    name: str
    total_memory: int  # bytes


def _index(device: _device) -> int:
    if device is None:
        return current_device()
    if isinstance(device, int):
        return device
    index = torch.device(device).index
    return current_device() if index is None else index


def is_available() -> bool:
    return True


def is_initialized() -> bool:
    return True


def _lazy_init() -> None:
    return None


def _is_in_bad_fork() -> bool:
    return False


def device_count() -> int:
    return torch.ops.standin.device_count()  # torch.accelerator asks this module


def current_device() -> int:
    return accelerator.current_device_index()


def set_device(device: _device) -> None:
    accelerator.set_device_index(_index(device))


class device:
    """Makes a device current for a block of code; a negative index changes nothing."""

    def __init__(self, device: _device) -> None:
        self.index = _index(device)

    def __enter__(self) -> None:
        self.before = current_device()
        if self.index >= 0:
            accelerator.set_device_index(self.index)

    def __exit__(self, *exception: object) -> None:
        accelerator.set_device_index(self.before)


def synchronize(device: _device = None) -> None:
    accelerator.synchronize(_index(device))


def current_stream(device: _device = None) -> torch.Stream:
    return accelerator.current_stream(_index(device))


def get_device_name(device: _device = None) -> str:
    return "stand-in device"


def get_device_properties(device: _device = None) -> Properties:
    return Properties(get_device_name(device), mem_get_info(device)[1])


def get_device_capability(device: _device = None) -> tuple[int, int]:
    return (0, 0)


def mem_get_info(device: _device = None) -> tuple[int, int]:
    """Free and total bytes."""
    return accelerator.get_memory_info(_index(device))


def empty_cache() -> None:
    accelerator.empty_cache()


def memory_allocated(device: _device = None) -> int:
    return accelerator.memory_allocated(_index(device))


def max_memory_allocated(device: _device = None) -> int:
    return accelerator.max_memory_allocated(_index(device))


def memory_reserved(device: _device = None) -> int:
    return accelerator.memory_reserved(_index(device))


def max_memory_reserved(device: _device = None) -> int:
    return accelerator.max_memory_reserved(_index(device))


def reset_peak_memory_stats(device: _device = None) -> None:
    accelerator.reset_peak_memory_stats(_index(device))


def memory_stats(device: _device = None) -> dict[str, Any]:
    return accelerator.memory_stats(_index(device))


def _generator(device: _device) -> torch.Generator:
    return torch.ops.standin.generator(_index(device))


def get_rng_state(device: _device = None) -> torch.Tensor:
    return _generator(device).get_state()


def set_rng_state(state: torch.Tensor, device: _device = None) -> None:
    _generator(device).set_state(state)


def get_rng_state_all() -> list[torch.Tensor]:
    return [get_rng_state(index) for index in range(device_count())]


def set_rng_state_all(states: list[torch.Tensor]) -> None:
    for index, state in enumerate(states):
        set_rng_state(state, index)


def manual_seed(seed: int) -> None:
    _generator(None).manual_seed(seed)


def manual_seed_all(seed: int) -> None:
    for index in range(device_count()):
        _generator(index).manual_seed(seed)


def initial_seed() -> int:
    return _generator(None).initial_seed()


def get_amp_supported_dtype() -> list[torch.dtype]:
    return [torch.bfloat16, torch.float16]


def is_bf16_supported(including_emulation: bool = True) -> bool:
    return True


def counters() -> dict[str, int]:
    """Bytes copied to the device and back, pinned allocations, and calls per operator."""
    return torch.ops.standin.counters()


def reset_counters() -> None:
    torch.ops.standin.reset_counters()
