"""Registers the stand-in with torch: `import torch` calls `load`, by the entry points of a package
that tests.standin.build puts beside the library."""

from __future__ import annotations

import os
from datetime import timedelta

import torch
from torch import distributed

NAME = "standin"
COLLECTIVES = "standin_gloo"


def load() -> None:
    """Loads the library and gives torch the device's name, module and collectives."""
    torch.ops.load_library(os.environ["STANDIN_LIBRARY"])
    torch.utils.rename_privateuse1_backend(NAME)
    from tests.standin import device_module

    torch._register_device_module(NAME, device_module)
    torch.utils.generate_methods_for_privateuse1_backend()
    if distributed.is_available():
        distributed.Backend.register_backend(COLLECTIVES, _gloo, devices=[NAME])


def _gloo(
    store: distributed.Store, rank: int, size: int, timeout: timedelta
) -> distributed.ProcessGroupGloo:
    """The backend of the group for the device; the library hands gloo its tensors."""
    return distributed.ProcessGroupGloo(store, rank, size, timeout)
