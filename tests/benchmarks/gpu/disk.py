"""The checkpoint that is streamed: made once, and read as a streamed model reads it."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

from dsnot_exp.models.shards import Shards
from dsnot_exp.utils.words import size
from tests.benchmarks.gpu.bench import Bench, Refused, Row, Subject
from tests.benchmarks.gpu.work import Block, Work
from tests.benchmarks.streaming import SHAPES, VOCABULARY, configuration, make_checkpoint

WRITTEN = 2e8  # bytes of a checkpoint that are made and written per second, at least


def checkpoint(bench: Bench) -> Path:
    """In the scratch folder, made at the first call."""
    folder = folder_of(bench)
    needed, free = checkpoint_bytes(bench), shutil.disk_usage(bench.scratch).free
    if not folder.exists() and needed > 0.9 * free:
        raise Refused(f"the checkpoint takes {size(needed)}, and the disk has {size(free)} left")
    make_checkpoint(configuration(bench.sizes.whole, bench.sizes.layers), folder)
    return folder


def folder_of(bench: Bench) -> Path:
    return bench.scratch / f"{bench.sizes.whole}-{bench.sizes.layers}"


def checkpoint_bytes(bench: Bench) -> int:
    shape, layers = bench.sizes.whole, bench.sizes.layers
    return 2 * (layers * Block.of(shape).weights + 2 * VOCABULARY * SHAPES[shape][0])


def forget_pages(folder: Path) -> None:
    """Ask the system to drop the files from its cache; nothing to ask for outside Linux."""
    for file in folder.glob("*.safetensors"):
        handle = os.open(file, os.O_RDONLY)
        try:
            os.fsync(handle)
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(handle)


def read(bench: Bench) -> list[Row]:
    """The whole checkpoint, tensor by tensor, once the cache is empty and once it is not."""
    folder = checkpoint(bench)
    shards, pinned = Shards(sorted(folder.glob("*.safetensors"))), bench.on_accelerator
    ways: dict[str, Callable[[], None]] = {
        "from disk": partial(forget_pages, folder),
        "from the system's cache": lambda: None,
    }
    rows = []
    for what, before in ways.items():
        seconds = []
        for _ in range(bench.sizes.repeats):
            before()
            begin = time.perf_counter()
            for name in shards.entries:
                shards.read([name], pinned)
            seconds.append(time.perf_counter() - begin)
        count = sum(entry.length for entry in shards.entries.values())
        rows.append({"what": what, "bytes": count, "seconds": seconds, "median": median(seconds)})
    return rows


def to_make(bench: Bench) -> Work:
    there = folder_of(bench).exists()
    return Work(seconds=0 if there else checkpoint_bytes(bench) / WRITTEN)


def needed(bench: Bench) -> Work:
    return to_make(bench) + Work(read=2.0 * bench.sizes.repeats * checkpoint_bytes(bench))


DISK = Subject("streamed/disk", read, needed)
