"""Read and write tensors in safetensors files, a few at a time.

The format is a length (8 bytes), a JSON header and the tensors' bytes. The safetensors library
holds the GIL while it writes, and maps whole files into memory to read. Plain reads and writes let
an I/O thread run beside the solver, and tensors that are not read take no memory.
"""

from __future__ import annotations

import io
import json
import math
import os
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import torch
import xxhash
from torch import Tensor

from dsnot_exp.utils.files import replaced

DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8,
    "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip
CODES = {dtype: code for code, dtype in DTYPES.items()}
ALIGNMENT = 8  # bytes; alignment of the first tensor's offset
PIECE = 1 << 24  # bytes hashed at a time
NOT_WRITTEN = "damaged (its bytes are not what was written)"


@dataclass(frozen=True)
class TensorInfo:
    """Where a tensor is stored: `length` bytes at offset `start` of `file`."""

    file: Path
    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int
    length: int


class Shards:
    """The tensors of some safetensors files, by name. `bytes_read`: bytes read so far."""

    def __init__(self, files: Iterable[Path]) -> None:
        self.entries: dict[str, TensorInfo] = {}
        self.bytes_read = 0
        for file in files:
            self.entries |= _entries(file)

    def read(self, names: Iterable[str], pinned: bool = False) -> dict[str, Tensor]:
        """Read tensors by name. `pinned`: into pinned memory, from which a GPU copies faster."""
        found = {}
        for name in sorted(names, key=lambda name: _place(self.entries[name])):
            entry = self.entries[name]
            tensor = torch.empty(entry.shape, dtype=entry.dtype, pin_memory=pinned)
            with entry.file.open("rb", buffering=0) as file:
                file.seek(entry.start)
                _read_into(file, raw(tensor), entry)
            self.bytes_read += entry.length
            found[name] = tensor
        return found


def _entries(file: Path) -> dict[str, TensorInfo]:
    with file.open("rb") as opened:
        return _header(file, opened, file.stat().st_size)


def _header(file: Path, opened: BinaryIO, length: int) -> dict[str, TensorInfo]:
    """The header of `file`, whose `length` bytes `opened` reads. Raises OSError if it is not a
    safetensors file, is truncated, or holds a dtype that is none of the usual ones."""
    try:
        size = struct.unpack("<Q", opened.read(8))[0]
        header: dict[str, Any] = json.loads(opened.read(size))
        header.pop("__metadata__", None)
        entries = {name: _entry(file, name, info, 8 + size) for name, info in header.items()}
    except (ValueError, KeyError, TypeError, AttributeError, struct.error, MemoryError) as error:
        raise OSError(f"{file}: not a safetensors file ({error!r}); download it again") from error
    last = max((entry.start + entry.length for entry in entries.values()), default=0)
    if length < last:
        raise OSError(f"{file}: truncated, {length} of {last} bytes; download it again")
    return entries


def _entry(file: Path, name: str, info: dict[str, Any], origin: int) -> TensorInfo:
    """origin: the offset in the file from which the header counts"""
    (begin, end), shape, code = info["data_offsets"], tuple(info["shape"]), info["dtype"]
    if code not in DTYPES:
        raise OSError(
            f"{file}: the tensor {name} is stored as {code}, a dtype of quantised checkpoints; "
            "prune the unquantised model"
        )
    dtype = DTYPES[code]
    if end - begin != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{name} has {end - begin} bytes for the shape {shape}")
    return TensorInfo(file, dtype, shape, origin + begin, end - begin)


def _place(entry: TensorInfo) -> tuple[str, int]:
    return str(entry.file), entry.start


def raw(tensor: Tensor) -> memoryview:
    """The bytes of a contiguous CPU tensor, to read or write in place."""
    return memoryview(cast(Any, tensor.reshape(-1).view(torch.uint8).numpy()))


def _read_into(file: Any, target: memoryview, entry: TensorInfo) -> None:
    done = 0
    while done < len(target):
        count = file.readinto(target[done:])
        if not count:
            raise OSError(f"{entry.file}: truncated")
        done += count


def write_shard(path: Path, tensors: Mapping[str, Tensor]) -> str:
    """Write a safetensors file atomically, with fsync, and return its digest."""
    header, offset = {}, 0
    for name, tensor in tensors.items():
        length = tensor.numel() * tensor.element_size()
        info = {"dtype": CODES[tensor.dtype], "shape": list(tensor.shape)}
        header[name] = {**info, "data_offsets": [offset, offset + length]}
        offset += length
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    digest = xxhash.xxh3_128()
    with replaced(path) as file:

        def write(piece: bytes | memoryview) -> None:
            digest.update(piece)
            file.write(piece)

        write(struct.pack("<Q", len(text)) + text)
        for tensor in tensors.values():
            view = raw(tensor.detach().cpu().contiguous())
            for start in range(0, len(view), PIECE):
                write(view[start : start + PIECE])
    return digest.hexdigest()


def digest(path: Path) -> str:
    """xxh3 of a file's bytes, as `write_shard` returns it. Detects damage, not forgery."""
    found = xxhash.xxh3_128()
    with path.open("rb", buffering=0) as file:
        while piece := file.read(PIECE):
            found.update(piece)
    return found.hexdigest()


def read_intact(path: Path, expected: str) -> dict[str, Tensor]:
    """All tensors of a file whose digest is `expected`, in its order; the file is read once. Raises
    OSError if its bytes are not what was written."""
    data = bytearray(path.read_bytes())
    if xxhash.xxh3_128_hexdigest(data) != expected:
        raise OSError(f"{path}: {NOT_WRITTEN}")
    entries = _header(path, io.BytesIO(data), len(data))
    return {
        name: torch.frombuffer(
            data, dtype=entry.dtype, count=math.prod(entry.shape), offset=entry.start
        ).view(entry.shape)
        for name, entry in entries.items()
    }


def size_in(entries: Iterable[TensorInfo], dtype: torch.dtype | None = None) -> int:
    """Bytes of the tensors, with floating-point ones stored as `dtype`."""
    total = 0
    for entry in entries:
        own = entry.dtype if dtype is None or not entry.dtype.is_floating_point else dtype
        total += math.prod(entry.shape) * own.itemsize
    return total


def free_bytes(folder: Path) -> int:
    """Bytes that the user can still write below `folder`."""
    stats = os.statvfs(folder)
    return stats.f_bavail * stats.f_frsize


def shard_name(index: int, blocks: int) -> str:
    """A shard's name in a Hugging Face folder. The last shard holds the tensors outside blocks."""
    return f"model-{index + 1:05d}-of-{blocks + 1:05d}.safetensors"
