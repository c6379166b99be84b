"""The entry of a finished block: nothing but what was written is read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dsnot_exp.walk.finished_block import FinishedBlock
from dsnot_exp.walk.record import BlockFit, Choice, LayerRecord

RECORDS = [
    LayerRecord("model.layers.0.q_proj", weights=12, zeros=6, expected_before=2.5, swaps=3),
    LayerRecord("model.layers.0.k_proj", weights=18, zeros=9, relative_tokens=128),
]
CHOICE = Choice("model.layers.0", "5", {"0": 0.25, "5": 0.125})
FIT = BlockFit("model.layers.0", 0.5, 0.25, 4, 3)
NOTES = {"model.layers.0.k_proj": "fell back"}
BLOCK = FinishedBlock("11aa", "22bb", "33cc", 4, RECORDS, NOTES, CHOICE, FIT)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "00000.json"
    BLOCK.write(path)
    return path


def test_what_is_read_is_what_was_written(path: Path) -> None:
    assert FinishedBlock.read(path) == BLOCK


def test_a_changed_byte_is_noticed(path: Path) -> None:
    whole = path.read_bytes()
    for place in range(0, len(whole), 3):
        changed = bytearray(whole)
        changed[place] ^= 1
        path.write_bytes(changed)
        with pytest.raises((ValueError, TypeError)):
            FinishedBlock.read(path)


def test_a_changed_number_with_the_old_digest_is_noticed(path: Path) -> None:
    whole = path.read_bytes()
    for old, new in ((b'"zeros": 6', b'"zeros": 7'), (b"11aa", b"11ab"), (b"2.5", b"2.4")):
        assert whole.count(old) == 1
        path.write_bytes(whole.replace(old, new))
        with pytest.raises(ValueError, match="bytes"):
            FinishedBlock.read(path)


def test_swapped_records_are_noticed(path: Path) -> None:
    seal, body = path.read_bytes().split(b"\n")
    content = json.loads(body)
    assert json.dumps(content).encode() == body
    content["records"].reverse()
    path.write_bytes(seal + b"\n" + json.dumps(content).encode())
    with pytest.raises(ValueError, match="bytes"):
        FinishedBlock.read(path)


@pytest.mark.parametrize("cut", [0, 1, 32, 33, 100, -1])
def test_a_truncated_file_is_noticed(path: Path, cut: int) -> None:
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(ValueError, match="bytes"):
        FinishedBlock.read(path)


def test_a_missing_file_is_an_oserror(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        FinishedBlock.read(tmp_path / "00000.json")
