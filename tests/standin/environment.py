"""The environment in which a process has the stand-in as its accelerator."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


@functools.cache
def built() -> Path:
    """The library's folder. The build has a process of its own: it registers the device there."""
    command = [sys.executable, "-m", "tests.standin.build"]
    environment = {**os.environ, "TORCH_DEVICE_BACKEND_AUTOLOAD": "0"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"the stand-in device cannot be built:\n{done.stdout}{done.stderr}")
    return Path(done.stdout.split()[-1])


def environ(
    memory: int | None = None, devices: int = 1, no_float64: bool = False
) -> dict[str, str]:
    """Variables for a subprocess whose torch loads the stand-in by itself.

    memory: bytes of each device (2 GiB); no_float64: as on Apple's mps.
    """
    path = [str(built()), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    found = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path),
        "TORCH_DEVICE_BACKEND_AUTOLOAD": "1",
        "STANDIN_LIBRARY": str(built() / "standin.so"),
        "STANDIN_DEVICES": str(devices),
        "STANDIN_NO_FLOAT64": str(int(no_float64)),
    }
    if memory is not None:
        found["STANDIN_MEMORY"] = str(memory)
    return found
