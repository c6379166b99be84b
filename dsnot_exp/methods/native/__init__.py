"""C for CPUs, compiled by the machine's own compiler when it is first needed, and kept in the
cache. Without a compiler tensor operations do the same, slower."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from dsnot_exp.utils.paths import cache

log = logging.getLogger(__name__)

FOLDER = Path(__file__).parent
# Vectors as wide as the processor has; every operation rounded by itself, as torch does it.
FLAGS = ("-O3", "-march=native", "-ffp-contract=off", "-fno-math-errno", "-shared", "-fPIC")
SLICES = 8  # of the rows, for each thread: rows differ in what they take


def compiler() -> str | None:
    return shutil.which(os.environ.get("CC") or "cc")


@functools.cache
def library(name: str) -> ctypes.CDLL:
    """`name`.c of this folder. Raises OSError or CalledProcessError where it cannot be made."""
    source = FOLDER / f"{name}.c"
    path = cache() / "native" / f"{name}-{_key(source)}.so"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            made = Path(folder) / path.name
            command = [compiler() or "cc", *FLAGS, "-o", str(made), str(source)]
            subprocess.run(command, check=True, capture_output=True, text=True)
            os.replace(made, path)
    return ctypes.CDLL(str(path))


@functools.cache
def available(name: str) -> bool:
    """Whether there is a compiler and it makes of `name`.c what runs; said once where not."""
    if compiler() is None:
        return False
    try:
        library(name)
    except (OSError, subprocess.CalledProcessError) as error:
        reason = getattr(error, "stderr", "") or str(error)
        log.warning("%s.c cannot be compiled (%s): slower, with the same result", name, reason)
        return False
    return True


def over_rows(rows: int, run: Callable[[int, int], int]) -> None:
    """`run(first, last)` for all rows, in torch's number of threads: C lets the others run."""
    threads = torch.get_num_threads()
    count = min(rows, SLICES * threads)
    edges = [rows * i // count for i in range(count + 1)] if count else [0]
    with ThreadPoolExecutor(threads) as pool:
        if any(pool.map(lambda i: run(edges[i], edges[i + 1]), range(count))):
            raise MemoryError("no memory for a row")


def _key(source: Path) -> str:
    """The source, the compiler, and the processor: a cache may be shared by several."""
    told = f"{compiler()} {FLAGS} {platform.machine()} {platform.processor()}"
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        kinds = ("model name", "flags", "Features", "CPU part")
        told += "".join(sorted({line for line in lines if line.startswith(kinds)}))
    except OSError:
        told += platform.node()
    return hashlib.sha256(source.read_bytes() + told.encode()).hexdigest()[:16]
