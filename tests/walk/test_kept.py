"""Checking a kept sparse model reads each of its files once, and finds any damage."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from dsnot_exp.models.masks import mask_name, pack_mask
from dsnot_exp.models.shards import write_shard
from dsnot_exp.walk.kept import FOLDER, WEIGHTS, KeptSparse, file_name


@pytest.fixture
def kept(tmp_path: Path) -> KeptSparse:
    """Two blocks of two layers, and a file of weights."""
    (tmp_path / FOLDER).mkdir()
    (tmp_path / WEIGHTS).mkdir()
    files, total = {}, hashlib.sha256()
    for block in range(2):
        masks = {f"layers.{block}.{name}": torch.rand(5, 7) > 0.5 for name in ("up", "down")}
        named = {mask_name(layer, mask): pack_mask(mask) for layer, mask in masks.items()}
        for name, bits in named.items():
            total.update(name.encode() + bits.numpy().tobytes())
        place = f"{FOLDER}/{file_name(block)}"
        files[place] = write_shard(tmp_path / place, named)
    place = f"{WEIGHTS}/{file_name(0)}"
    files[place] = write_shard(tmp_path / place, {"layers.0.up(5, 7).values": torch.ones(9)})
    known = {"files": files, "masks_sha256": total.hexdigest(), "moved": []}
    return KeptSparse(tmp_path, {}, known)


def test_every_file_is_read_once(kept: KeptSparse, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: Counter[str] = Counter()
    open_ = Path.open

    def counting(path: Path, *given: Any, **named: Any) -> Any:
        opened[str(path.relative_to(kept.folder))] += 1
        return open_(path, *given, **named)

    monkeypatch.setattr(Path, "open", counting)
    kept.check()
    assert opened == dict.fromkeys(kept.known["files"], 1)


@pytest.mark.parametrize("number", [0, 1, 2])
@pytest.mark.parametrize("at", [0, 12, -1])
def test_a_changed_byte_is_found(kept: KeptSparse, number: int, at: int) -> None:
    path = kept.folder / list(kept.known["files"])[number]
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    with pytest.raises(OSError, match=f"{path}: damaged"):
        kept.check()


def test_masks_that_are_not_those_of_the_record_are_found(kept: KeptSparse) -> None:
    files = kept.known["files"]
    one, other = list(files)[:2]
    (kept.folder / one).rename(kept.folder / "aside")
    (kept.folder / other).rename(kept.folder / one)
    (kept.folder / "aside").rename(kept.folder / other)
    files[one], files[other] = files[other], files[one]
    with pytest.raises(OSError, match="its masks are not those that were recorded"):
        kept.check()
