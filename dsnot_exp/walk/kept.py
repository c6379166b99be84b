"""A sparse model on disk, without the dense model that it was made from.

    <folder>/masks/00002.safetensors     the masks of block 2, see models/masks.py
    <folder>/weights/00002.safetensors   the weights of its layers that a method moved: for each of
                                         them `.bits` and `.values`, see models/packed.py
    <folder>/sparse.json                 what is known of the model, and the digests of these files

Applied to the dense model, the masks give the sparse model to the bit where no method moved the
kept weights. Where one did, the weights have to be there.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xxhash
from torch import Tensor

from dsnot_exp.models.masks import FOLDER, NAME, unpack_masks
from dsnot_exp.models.packed import Packed, unpack
from dsnot_exp.models.shards import NOT_WRITTEN, Shards, digest, raw, read_intact
from dsnot_exp.utils.files import bytes_of, write_atomically

ABOUT = "sparse.json"
WEIGHTS = "weights"
SCHEMA = 1
BITS, VALUES = ".bits", ".values"


@dataclass(frozen=True)
class KeptSparse:
    """key: what the model depends on
    known: `Sparsified.as_plain`, `data` (of the calibration), `maker` (the run
        that made it), and `files`: their digests
    """

    folder: Path
    key: dict[str, Any]
    known: dict[str, Any]

    @classmethod
    def read(cls, folder: Path) -> KeptSparse:
        """Raises FileNotFoundError if nothing is kept there, and OSError if `sparse.json` is not
        what was written."""
        path = folder / ABOUT
        try:
            content = json.loads(path.read_text("utf-8"))
            schema, found = content["schema"], content["content"]
            whole = content["digest"] == _digest(found)
            key, known = found["key"], found["known"]
        except (ValueError, KeyError, TypeError) as error:
            raise OSError(f"{path}: damaged ({error!r})") from error
        if schema != SCHEMA:
            raise OSError(f"{path}: written by another version of dsnot_exp (schema {schema})")
        if not whole:
            raise OSError(f"{path}: damaged (its content is not what was written)")
        return cls(folder, key, known)

    def write(self) -> None:
        """Write `sparse.json`: the last of the files."""
        found = {"key": self.key, "known": self.known}
        content = {"schema": SCHEMA, "digest": _digest(found), "content": found}
        write_atomically(self.folder / ABOUT, json.dumps(content, indent=1).encode())

    def check(self) -> None:
        """Raise OSError for a file that is missing or not what was written."""
        found = hashlib.sha256()
        for name, expected in self.known["files"].items():
            if not name.startswith(FOLDER):
                if digest(self.folder / name) != expected:
                    raise OSError(f"{self.folder / name}: {NOT_WRITTEN}")
                continue
            for layer, bits in read_intact(self.folder / name, expected).items():
                found.update(layer.encode())
                found.update(raw(bits))
        if found.hexdigest() != self.masks_sha256:
            raise OSError(f"{self.folder}: damaged (its masks are not those that were recorded)")

    @property
    def masks_sha256(self) -> str:
        found: str = self.known["masks_sha256"]
        return found

    @property
    def has_weights(self) -> bool:
        """Whether the weights that a method moved are kept too."""
        return any(name.startswith(WEIGHTS) for name in self.known["files"])

    @property
    def restores(self) -> bool:
        """Whether the sparse model can be made from the dense one with what is kept."""
        return self.has_weights or not self.known["moved"]

    @property
    def weights_digest(self) -> str:
        """Of the files of weights; empty if no weight was moved or none is kept."""
        files = {n: d for n, d in self.known["files"].items() if n.startswith(WEIGHTS)}
        return _digest(files) if files else ""

    @property
    def nbytes(self) -> int:
        return bytes_of(self.folder)

    def summary(self, run: Path) -> dict[str, Any]:
        """The `masks` field of result.json. run: the folder that the path counts from"""
        return {
            "folder": Path(os.path.relpath(self.folder, run)).as_posix(),
            "kept": WEIGHTS if self.has_weights else FOLDER,
            "restores": self.restores,
            "bytes": self.nbytes,
        }

    def masks(self, index: int) -> dict[str, Tensor]:
        """The masks of a block by layer, (out, in) bool."""
        return unpack_masks(self._read(FOLDER, index))

    def weights(self, index: int) -> dict[str, Tensor]:
        """The weights of a block that are kept, by layer, (out, in)."""
        parts = self._read(WEIGHTS, index) if self.has_weights else {}
        found = {}
        for name in (n.removesuffix(BITS) for n in parts if n.endswith(BITS)):
            named = NAME.fullmatch(name)
            assert named is not None
            shape = tuple(int(size) for size in named["shape"].split(", "))
            packed = Packed(parts[name + BITS], parts[name + VALUES], shape)
            found[named["layer"]] = unpack(packed)
        return found

    def _read(self, part: str, index: int) -> dict[str, Tensor]:
        shards = Shards([self.folder / part / file_name(index)])
        return shards.read(shards.entries)


def file_name(index: int) -> str:
    """Of a block."""
    return f"{index:05d}.safetensors"


def _digest(content: Any) -> str:
    text = json.dumps(content, sort_keys=True)
    return xxhash.xxh3_128_hexdigest(text.encode())
