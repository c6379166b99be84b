"""The device that the option `device` chooses."""

from __future__ import annotations

import torch

from dsnot_exp.utils import accelerator
from dsnot_exp.utils.errors import RequestError


def device_of(name: str) -> torch.device:
    """name: auto, cpu, or a kind of accelerator, such as cuda or xpu, with or without a number.
    `auto` is the machine's accelerator where it can compute everything, else the CPU."""
    if name == "auto":
        found = accelerator.present()
        usable = found is not None and accelerator.has_float64(found)
        return found if found is not None and usable else torch.device("cpu")
    device = _known(name)
    if device.type == "cpu":
        return device
    found = accelerator.present()
    count = accelerator.count() if found is not None and found.type == device.type else 0
    if (device.index or 0) >= count:
        raise RequestError(
            f"device={name}: this machine has {count} {device.type.upper()} devices that torch "
            f"{torch.__version__} can use; choose device=cpu or auto"
        )
    if not accelerator.has_float64(device):
        raise RequestError(
            f"device={name}: it has no float64 numbers, in which statistics and errors are added "
            "up; choose device=cpu"
        )
    return device


def _known(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError:  # an unknown type
        device = torch.device("meta")
    wrapped = str(device) != name  # torch counts devices in one byte: cuda:300 becomes cuda:44
    if wrapped or device.type == "meta" or (device.type == "cpu" and name != "cpu"):
        raise RequestError(
            f"device={name}: torch {torch.__version__} knows no such device; choose from auto, "
            "cpu, cuda, cuda:0, ..."
        )
    return device
