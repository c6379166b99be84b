"""Builds the stand-in's library with torch's extension builder, outside of the checkout.

    python -m tests.standin.build

prints the folder: `standin.so`, and the package metadata by which torch loads the backend.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import sys
import sysconfig
from pathlib import Path

SOURCES = Path(__file__).with_name("native")
FLAGS = ["-O1", "-Wall", "-Wextra"]
METADATA = "Metadata-Version: 2.1\nName: standin\nVersion: 1\n"
ENTRY_POINTS = "[torch.backends]\nstandin = tests.standin.backend:load\n"


def folder() -> Path:
    """One folder per content of the sources, version of torch and Python."""
    import torch
    from torch.utils.cpp_extension import get_default_build_root

    found = hashlib.sha256(f"{torch.__version__} {sys.version} {FLAGS}".encode())
    for source in sorted(SOURCES.iterdir()):
        found.update(source.read_bytes())
    root = os.environ.get("TORCH_EXTENSIONS_DIR") or get_default_build_root()
    return Path(root) / f"standin-{found.hexdigest()[:16]}"


def build() -> Path:
    """The folder with the library; a second process waits for the first one's build."""
    into = folder()
    into.mkdir(parents=True, exist_ok=True)
    with (into / "building").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (into / "built").exists():
            _compile(into)
            metadata = into / "standin-1.dist-info"
            metadata.mkdir(exist_ok=True)
            (metadata / "METADATA").write_text(METADATA)
            (metadata / "entry_points.txt").write_text(ENTRY_POINTS)
            (into / "built").touch()
    return into


def _compile(into: Path) -> None:
    from torch.utils import cpp_extension

    (into / "lock").unlink(missing_ok=True)  # torch's own, left by a build that was killed
    scripts = sysconfig.get_path("scripts")  # the environment's ninja
    os.environ["PATH"] = os.pathsep.join([scripts, os.environ.get("PATH", "")])
    cpp_extension.load(
        "standin",
        sorted(str(source) for source in SOURCES.glob("*.cpp")),
        extra_cflags=FLAGS,
        build_directory=str(into),
        is_python_module=False,
    )


if __name__ == "__main__":
    print(build())
