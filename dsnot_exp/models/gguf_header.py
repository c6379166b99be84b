"""The kinds of the tensors in a .gguf file, read from its header. The package gguf, which reads the
whole header, takes seconds for a large vocabulary."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO

VERSIONS = (2, 3)  # of the format, little endian; the package decides about others
SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}  # bytes by value type
STRING, ARRAY = 8, 9
NAME = 1 << 16  # bytes, of a key or a tensor's name
LONGEST = 1 << 40  # bytes; a damaged length may be any number of 64 bits


class Cut(ValueError):
    """The header ends too early, or is no header."""


def tensor_kinds(file: Path) -> Iterator[tuple[str, int]]:
    """Name and GGMLQuantizationType of each tensor. Raises Cut where the header is damaged."""
    with file.open("rb") as opened:
        opened.seek(4)  # the magic
        if _integer(opened, 4) not in VERSIONS:
            return
        tensors, values = _integer(opened, 8), _integer(opened, 8)
        for _ in range(values):
            _string(opened)
            _skip(opened, _integer(opened, 4))
        for _ in range(tensors):
            name = _string(opened).decode("utf-8", "replace")
            _jump(opened, 8 * _integer(opened, 4))  # the shape
            yield name, _integer(opened, 4)
            _jump(opened, 8)  # the offset


def _skip(file: IO[bytes], kind: int) -> None:
    """Skip a value of this type."""
    if kind == STRING:
        _jump(file, _integer(file, 8))
    elif kind == ARRAY:
        inner, count = _integer(file, 4), _integer(file, 8)
        if inner in SIZES:
            _jump(file, SIZES[inner] * count)
        else:
            for _ in range(count):
                _skip(file, inner)
    elif kind in SIZES:
        _jump(file, SIZES[kind])
    else:
        raise Cut(f"a value of type {kind}")


def _jump(file: IO[bytes], length: int) -> None:
    if length > LONGEST:
        raise Cut("a value that is too long")
    file.seek(length, 1)


def _string(file: IO[bytes]) -> bytes:
    length = _integer(file, 8)
    if length > NAME:
        raise Cut("a name that is too long")
    return file.read(length)


def _integer(file: IO[bytes], size: int) -> int:
    data = file.read(size)
    if len(data) < size:
        raise Cut("the header ends too early")
    return int(struct.unpack("<I" if size == 4 else "<Q", data)[0])
