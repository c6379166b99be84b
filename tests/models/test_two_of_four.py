"""2:4 tensors are packed and unpacked to the bit; others are not packed."""

from __future__ import annotations

import pytest
import torch

from dsnot_exp.models.two_of_four import TwoOfFour, pack_2_4, unpack_2_4

DTYPES = [torch.float32, torch.bfloat16, torch.float16]


def two_of_four(rows: int, columns: int, dtype: torch.dtype) -> torch.Tensor:
    generator = torch.Generator().manual_seed(rows * columns)
    dense = torch.randn(rows, columns, generator=generator).to(dtype)
    order = torch.rand(rows, columns // 4, 4, generator=generator).argsort(-1)
    return dense.masked_fill((order >= 2).view(rows, columns), 0)


def same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.dtype == b.dtype and bool((a.view(torch.uint8) == b.view(torch.uint8)).all())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(3, 8), (5, 4), (1, 12)])
def test_a_round_trip_is_exact(shape: tuple[int, int], dtype: torch.dtype) -> None:
    tensor = two_of_four(*shape, dtype)
    packed = pack_2_4(tensor)
    assert packed is not None
    assert (packed.axis, packed.values.numel()) == (-1, tensor.numel() // 2)
    assert packed.places.numel() == -(-tensor.numel() // 8)
    assert same_bits(unpack_2_4(packed), tensor)


def test_the_documented_layout() -> None:
    tensor = torch.tensor([[0.0, 5.0, 0.0, 6.0, 7.0, 8.0, 0.0, 0.0]])
    packed = pack_2_4(tensor)
    assert packed is not None
    assert packed.values.tolist() == [5, 6, 7, 8]
    assert packed.places.tolist() == [(1 | 3 << 2) | (0 | 1 << 2) << 4]


def test_groups_with_fewer_values_and_negative_zeros() -> None:
    tensor = torch.tensor([[0.0, 0.0, -0.0, 0.0, 0.0, 0.0, 0.0, 3.0]])
    packed = pack_2_4(tensor)
    assert packed is not None
    assert same_bits(unpack_2_4(packed), tensor)
    assert str(unpack_2_4(packed)[0, 2].item()) == "-0.0"


def test_groups_along_the_last_but_one_axis() -> None:
    tensor = two_of_four(12, 8, torch.bfloat16).T.contiguous()
    packed = pack_2_4(tensor)
    assert packed is not None
    assert packed.axis == -2
    assert same_bits(unpack_2_4(packed), tensor)
    experts = torch.stack([two_of_four(12, 8, torch.float32).T for _ in range(3)]).contiguous()
    packed = pack_2_4(experts)
    assert packed is not None
    assert same_bits(unpack_2_4(packed), experts)


def test_other_tensors_are_not_packed() -> None:
    tensor = two_of_four(4, 8, torch.float32)
    tensor[2, :3] = 1
    assert pack_2_4(tensor) is None
    assert pack_2_4(torch.zeros(3, 3)) is None
    assert pack_2_4(torch.ones(4)) is None


def test_damage_is_found() -> None:
    packed = pack_2_4(two_of_four(4, 8, torch.float32))
    assert packed is not None
    with pytest.raises(ValueError, match="values"):
        unpack_2_4(TwoOfFour(packed.values[1:], packed.places, packed.shape, -1))
    with pytest.raises(ValueError, match="order"):
        unpack_2_4(TwoOfFour(packed.values, packed.places * 0, packed.shape, -1))
