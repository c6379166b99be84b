"""Tokenised files that hold something else than the ids of whole sequences."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from dsnot_exp.data.corpora import is_tokenised
from dsnot_exp.data.token_files import read_rows
from dsnot_exp.utils.errors import RequestError

IDS = torch.arange(12).reshape(3, 4)


def read(folder: Path, seqlen: int = 4, **tensors: Tensor) -> Tensor:
    save_file(tensors, folder / "a.safetensors")
    return read_rows("k=a", str(folder / "a.safetensors"), seqlen)


def refusal(folder: Path, seqlen: int = 4, **tensors: Tensor) -> str:
    with pytest.raises(RequestError) as refused:
        read(folder, seqlen, **tensors)
    return str(refused.value).removeprefix("k=a: ")


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float16, torch.bfloat16, torch.bool, torch.float8_e4m3fn]
)
def test_only_integers_are_token_ids(dtype: torch.dtype, tmp_path: Path) -> None:
    name = str(dtype).removeprefix("torch.")
    assert refusal(tmp_path, input_ids=IDS.to(dtype)).startswith(f"input_ids are {name};")


@pytest.mark.parametrize(
    "dtype", [torch.uint8, torch.int8, torch.int16, torch.uint16, torch.int32, torch.uint32,
              torch.int64, torch.uint64],
)  # fmt: skip
def test_every_kind_of_integer_is_read(dtype: torch.dtype, tmp_path: Path) -> None:
    found = read(tmp_path, input_ids=IDS.to(dtype))
    assert found.dtype == torch.int64
    assert torch.equal(found, IDS)


@pytest.mark.parametrize("shape", [(), (1, 3, 4), (3, 2, 2, 1)])
def test_another_rank_is_refused_with_its_shape(shape: tuple[int, ...], tmp_path: Path) -> None:
    ids = torch.zeros(shape, dtype=torch.int64)
    assert f"shape {shape}" in refusal(tmp_path, input_ids=ids)


@pytest.mark.parametrize("shape", [(0,), (0, 4), (3, 0)])
def test_an_empty_tensor_is_refused(shape: tuple[int, ...], tmp_path: Path) -> None:
    assert "empty" in refusal(tmp_path, input_ids=torch.zeros(shape, dtype=torch.int64))


def test_negative_ids_are_refused(tmp_path: Path) -> None:
    ids = IDS.clone()
    ids[1, 2] = -100
    assert "-100" in refusal(tmp_path, input_ids=ids)
    assert "token ids start at 0" in refusal(
        tmp_path, input_ids=torch.full((4,), 2**63, dtype=torch.uint64)
    )


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.float32])
def test_a_mask_may_mask_nothing(dtype: torch.dtype, tmp_path: Path) -> None:
    mask = torch.ones(3, 4, dtype=dtype)
    assert torch.equal(read(tmp_path, input_ids=IDS, attention_mask=mask), IDS)
    mask[2, 3] = 0
    found = refusal(tmp_path, input_ids=IDS, attention_mask=mask)
    assert found.startswith("attention_mask masks 1 of 12 tokens")
    for other in (mask[:2], mask.flatten()):
        found = refusal(tmp_path, input_ids=IDS, attention_mask=other.contiguous())
        assert "attention_mask has the shape" in found


def test_a_suffix_in_capitals_is_a_tokenised_file() -> None:
    assert is_tokenised("A.SafeTensors")
    assert not is_tokenised("a.safetensors.gz")
