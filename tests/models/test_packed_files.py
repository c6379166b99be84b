"""Packed files hold the same tensors to the bit, take less room, and damage is found."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from dsnot_exp.models.packed_files import BITMASK, DENSE, INDEX, read_index, read_packed
from dsnot_exp.models.packed_files import write_packed as write


def tensors(dtype: torch.dtype = torch.bfloat16) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(100, 100, generator=generator)
    mask = torch.rand(100, 100, generator=generator).argsort(1) >= 60
    return {
        "a.weight": weight.masked_fill(~mask, 0).to(dtype),
        "b.weight": weight.to(dtype),
        "norm": torch.zeros(100, dtype=dtype),
        "steps": torch.arange(4),
        "experts": torch.stack([weight.masked_fill(~mask, 0)] * 2),
    }


@pytest.mark.parametrize("shard", [1, 2**30])
def test_a_round_trip_is_exact(shard: int, tmp_path: Path) -> None:
    save_file(tensors(), tmp_path / "model.safetensors")
    index = write([tmp_path / "model.safetensors"], tmp_path, BITMASK, shard)
    assert index == read_index(tmp_path)
    assert len(index.digests) == (1 if shard > 1 else 5)
    assert set(index.names(BITMASK)) == {"a.weight", "experts"}
    assert set(index.names(DENSE)) == {"b.weight", "norm", "steps"}
    found = dict(read_packed(tmp_path, index))
    expected = load_file(tmp_path / "model.safetensors")
    assert set(found) == set(expected)
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype
        assert found[name].shape == tensor.shape
        assert torch.equal(found[name].view(torch.uint8), tensor.view(torch.uint8))


def test_60_percent_in_bfloat16_takes_less_than_half(tmp_path: Path) -> None:
    save_file({"a": tensors()["a.weight"]}, tmp_path / "model.safetensors")
    index = write([tmp_path / "model.safetensors"], tmp_path, BITMASK)
    assert index.packed / index.dense == pytest.approx(0.4 + 1 / 16)
    (file,) = index.digests
    assert (tmp_path / file).stat().st_size < 0.5 * index.dense


def test_damage_is_found(tmp_path: Path) -> None:
    save_file(tensors(), tmp_path / "model.safetensors")
    index = write([tmp_path / "model.safetensors"], tmp_path, BITMASK)
    (file,) = index.digests
    data = bytearray((tmp_path / file).read_bytes())
    data[-1] ^= 1
    (tmp_path / file).write_bytes(data)
    with pytest.raises(OSError, match="damaged; export or download"):
        dict(read_packed(tmp_path, index))
    for content in ("{", "[]", '{"schema": 2}', '{"schema": 1}'):
        (tmp_path / INDEX).write_text(content)
        with pytest.raises(OSError, match=INDEX):
            read_index(tmp_path)
