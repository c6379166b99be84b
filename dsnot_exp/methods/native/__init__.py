"""C kernels for CPUs. The machine's own compiler builds them on first use, and the cache keeps
them. Without a compiler, tensor operations give the same result, more slowly."""

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
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from dsnot_exp.utils.paths import cache

log = logging.getLogger(__name__)

FOLDER = Path(__file__).parent
# The widest vectors that the processor has. No fused operations: each one is rounded, as in torch.
FLAGS = ("-O3", "-march=native", "-ffp-contract=off", "-fno-math-errno", "-shared", "-fPIC")
SLICES = 8  # of the rows per thread: some rows take longer than others


def compiler() -> str | None:
    return shutil.which(os.environ.get("CC") or "cc")


@functools.cache
def library(name: str) -> ctypes.CDLL:
    """`name`.c of this folder. Raises OSError or CalledProcessError if it cannot be built."""
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
    """True if a C compiler exists and `name`.c compiles and loads; otherwise warns once."""
    if compiler() is None:
        return False
    try:
        library(name)
    except (OSError, subprocess.CalledProcessError) as error:
        reason = getattr(error, "stderr", "") or str(error)
        log.warning(
            "%s.c cannot be compiled (%s): using tensor operations, slower, with the same result",
            name,
            reason,
        )
        return False
    return True


def entry(library: ctypes.CDLL, function: str, task: type[ctypes.Structure]) -> Callable[..., int]:
    """A C function that takes a task and a range, from first to last."""
    run: Any = getattr(library, function)
    run.argtypes = [ctypes.POINTER(task), ctypes.c_int64, ctypes.c_int64]
    found: Callable[..., int] = run
    return found


def over_rows(rows: int, run: Callable[[int, int], int]) -> None:
    """`run(first, last)` over all rows, in as many threads as torch uses. C code releases the
    GIL."""
    threads = torch.get_num_threads()
    count = min(rows, SLICES * threads) if threads > 1 else min(rows, 1)
    edges = [rows * i // count for i in range(count + 1)] if count else [0]
    with ThreadPoolExecutor(threads) if count > 1 else nullcontext() as pool:
        each = map if pool is None else pool.map
        if any(each(lambda i: run(edges[i], edges[i + 1]), range(count))):
            raise MemoryError("out of memory in a C kernel")


def _key(source: Path) -> str:
    """The source, the compiler and the processor: machines may share a cache."""
    told = f"{compiler()} {FLAGS} {platform.machine()} {platform.processor()}"
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        kinds = ("model name", "flags", "Features", "CPU part")
        told += "".join(sorted({line for line in lines if line.startswith(kinds)}))
    except OSError:
        told += platform.node()
    return hashlib.sha256(source.read_bytes() + told.encode()).hexdigest()[:16]
