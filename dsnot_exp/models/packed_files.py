"""The weights of a sparse model in packed safetensors files, and back.

Beside the files lies an index, `packed.json`: the layout of every tensor, and a digest of every
file. transformers finds no weights in such a folder, so it cannot take the packed ones for dense.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from dsnot_exp.models.packed import Packed, pack, unpack
from dsnot_exp.models.shards import Shards, digest, write_shard
from dsnot_exp.models.two_of_four import TwoOfFour, pack_2_4, unpack_2_4
from dsnot_exp.utils.files import write_atomically

INDEX = "packed.json"
SCHEMA = 1
SHARD = 2**30  # bytes of packed tensors in one file, and in memory while it is written
DENSE, BITMASK, TWO_FOUR = "dense", "bitmask", "2:4"  # layouts
PARTS = {DENSE: ("",), BITMASK: (".bits", ".values"), TWO_FOUR: (".values", ".places")}


@dataclass(frozen=True)
class Layout:
    """How one tensor is stored: in the entries `name + part` of `file`, by PARTS."""

    file: str
    layout: str
    shape: tuple[int, ...] = ()
    axis: int = -1  # of groups of four


@dataclass
class Index:
    """dense, packed: bytes of the tensors that are stored packed, before and after
    rest: bytes of those that are stored as they are
    entries: in the tensors that are stored packed
    """

    format: str
    tensors: dict[str, Layout] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    dense: int = 0
    packed: int = 0
    rest: int = 0
    entries: int = 0

    def names(self, layout: str) -> list[str]:
        return [name for name, found in self.tensors.items() if found.layout == layout]


def write_packed(files: list[Path], folder: Path, form: str, shard: int = SHARD) -> Index:
    """Pack the tensors of safetensors files into `folder`, one tensor in memory at a time besides
    the file that is being filled. A tensor that would not get smaller is stored as it is.

    form: `bitmask` or `2:4`; in the latter, tensors that are not 2:4 are stored as they are
    """
    source, index = Shards(files), Index(form)
    held: dict[str, Tensor] = {}
    for name in source.entries:
        tensor = source.read([name])[name]
        parts, layout = _packed(tensor, form)
        file = f"packed-{len(index.digests) + 1:05d}.safetensors"
        index.tensors[name] = Layout(file, layout[0], tuple(tensor.shape), layout[1])
        held |= {name + part: one for part, one in zip(PARTS[layout[0]], parts, strict=True)}
        size = sum(part.nbytes for part in parts)
        if layout[0] == DENSE:
            index.rest += size
        else:
            index.dense += tensor.nbytes
            index.packed += size
            index.entries += tensor.numel()
        if sum(one.nbytes for one in held.values()) >= shard:
            index.digests[file] = write_shard(folder / file, held)
            held = {}
    if held:
        index.digests[file] = write_shard(folder / file, held)
    content = json.dumps({"schema": SCHEMA, **asdict(index)}, indent=1) + "\n"
    write_atomically(folder / INDEX, content.encode())  # last: the files are complete
    return index


def _packed(tensor: Tensor, form: str) -> tuple[tuple[Tensor, ...], tuple[str, int]]:
    """The parts of a tensor by PARTS, its layout, and the axis of the groups."""
    if tensor.is_floating_point() and tensor.dim() > 1:
        if form == TWO_FOUR:
            groups = pack_2_4(tensor)
            if groups is not None:
                return (groups.values, groups.places), (TWO_FOUR, groups.axis)
        else:
            packed = pack(tensor)
            if packed.nbytes < tensor.nbytes:
                return (packed.bits, packed.values), (BITMASK, -1)
    return (tensor,), (DENSE, -1)


def read_index(folder: Path) -> Index:
    """Raises OSError if there is no index, or one that this version cannot read."""
    path = folder / INDEX
    try:
        content: dict[str, Any] = json.loads(path.read_text("utf-8"))
        schema = content.pop("schema")
        if schema != SCHEMA:
            raise OSError(f"{path}: schema {schema}; this version reads {SCHEMA}")
        tensors = content.pop("tensors").items()
        read = {name: Layout(**found | {"shape": tuple(found["shape"])}) for name, found in tensors}
        return Index(tensors=read, **content)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise OSError(f"{path}: damaged ({error!r}); export or download it again") from error


def read_packed(folder: Path, index: Index) -> Iterator[tuple[str, Tensor]]:
    """The tensors of the model, by name, as they were before they were packed. Raises OSError if
    a file is missing or damaged."""
    for file, expected in index.digests.items():
        if digest(folder / file) != expected:
            raise OSError(f"{folder / file}: damaged; export or download it again")
        shards = Shards([folder / file])
        for name, found in index.tensors.items():
            if found.file != file:
                continue
            try:
                parts = shards.read(name + part for part in PARTS[found.layout])
                yield name, _unpacked(name, parts, found)
            except (ValueError, KeyError) as error:
                raise OSError(f"{folder / file}: {name} is damaged ({error})") from error


def _unpacked(name: str, parts: dict[str, Tensor], found: Layout) -> Tensor:
    if found.layout == DENSE:
        return parts[name]
    one, two = (parts[name + part] for part in PARTS[found.layout])
    if found.layout == BITMASK:
        return unpack(Packed(one, two, found.shape))
    return unpack_2_4(TwoOfFour(one, two, found.shape, found.axis))
