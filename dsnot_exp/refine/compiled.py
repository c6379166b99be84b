"""rows.c, compiled by the machine's own C compiler when it is first needed, and kept in the cache.

Only `chip.py` imports this file. Without a compiler the plain version does the same, slower.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor

from dsnot_exp.paths import cache

SOURCE = Path(__file__).with_name("rows.c")
# Vectors as wide as the processor has; every operation rounded by itself, as torch does it.
FLAGS = ("-O3", "-march=native", "-ffp-contract=off", "-fno-math-errno", "-shared", "-fPIC")
DTYPES = (torch.float32, torch.bfloat16)
SLICES = 8  # of the rows, for each thread: rows differ in their numbers of cycles


class _Layer(ctypes.Structure):
    """As in rows.c."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in (
            "weight", "present", "scores", "mask", "unit", "divisor", "norm", "new_mask", "error",
            "swaps",
        )),
        *((name, ctypes.c_int64) for name in ("width", "cycles", "m")),
        ("threshold", ctypes.c_double),
        *((name, ctypes.c_int32) for name in ("half", "flip_stops", "run_on")),
    ]  # fmt: skip


def compiler() -> str | None:
    return shutil.which(os.environ.get("CC") or "cc")


@functools.cache
def library() -> ctypes.CDLL:
    """Raises OSError or CalledProcessError where it cannot be made."""
    path = cache() / "kernels" / f"rows-{_key()}.so"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            made = Path(folder) / path.name
            command = [compiler() or "cc", *FLAGS, "-o", str(made), str(SOURCE)]
            subprocess.run(command, check=True, capture_output=True, text=True)
            os.replace(made, path)
    return ctypes.CDLL(str(path))


def _key() -> str:
    """The source, the compiler, and the processor: a cache may be shared by several."""
    told = f"{compiler()} {FLAGS} {platform.machine()} {platform.processor()}"
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        kinds = ("model name", "flags", "Features", "CPU part")
        told += "".join(sorted({line for line in lines if line.startswith(kinds)}))
    except OSError:
        told += platform.node()
    return hashlib.sha256(SOURCE.read_bytes() + told.encode()).hexdigest()[:16]


def refine_rows(
    weight: Tensor, present: Tensor, scores: Tensor, mask: Tensor, unit: Tensor, divisor: Tensor,
    norm: Tensor, error: Tensor, cycles: int, threshold: float, m: int, flip_stops: bool,
    run_on: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """As kernel.refine_rows, for weights in memory: a layer -> (mask, error after, swaps)."""
    moved = present is not weight
    weight, mask = weight.contiguous(), mask.contiguous()
    present = present.contiguous() if moved else weight
    scores = scores.float().contiguous() if m else unit  # which is not read
    vectors = [vector.float().contiguous() for vector in (unit, divisor, norm)]
    new_mask, after = mask.clone(), error.clone()
    swaps = torch.zeros_like(error, dtype=torch.int64)
    tensors = (weight, present, scores, mask, *vectors, new_mask, after, swaps)
    layer = _Layer(
        *(tensor.data_ptr() for tensor in tensors), weight.shape[1], cycles, m, threshold,
        weight.dtype == torch.bfloat16, flip_stops, run_on,
    )  # fmt: skip
    run = library().refine_rows
    run.argtypes = [ctypes.POINTER(_Layer), ctypes.c_int64, ctypes.c_int64]
    rows, threads = len(weight), torch.get_num_threads()
    count = min(rows, SLICES * threads)
    edges = [rows * i // count for i in range(count + 1)] if count else [0]
    with ThreadPoolExecutor(threads) as pool:  # a call of C lets the other threads run
        failed = pool.map(lambda i: run(layer, edges[i], edges[i + 1]), range(count))
        if any(failed):
            raise MemoryError("no memory for the rows")
    return new_mask, after, swaps
