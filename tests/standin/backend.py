"""Registers the stand-in with torch; `import torch` calls `load` (entry points `torch.backends`)."""

from __future__ import annotations

import os

import torch

NAME = "standin"


def load() -> None:
    """Loads the library and gives torch the device's name and module."""
    torch.ops.load_library(os.environ["STANDIN_LIBRARY"])
    torch.utils.rename_privateuse1_backend(NAME)
    from tests.standin import device_module

    torch._register_device_module(NAME, device_module)
    torch.utils.generate_methods_for_privateuse1_backend()
