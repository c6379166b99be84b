"""The device that the option `device` chooses."""

from __future__ import annotations

import torch

from dsnot_exp.utils.errors import RequestError


def device_of(name: str) -> torch.device:
    """name: auto, cpu, cuda or cuda:N"""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:  # an index beyond what torch can count
        device = None
    count = torch.cuda.device_count()
    if device is None or (device.type == "cuda" and (device.index or 0) >= count):
        raise RequestError(
            f"device={name}: this machine has {count} CUDA devices that torch "
            f"{torch.__version__} can use; choose device=cpu or auto"
        )
    return device
