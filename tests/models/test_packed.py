from __future__ import annotations

import pytest
import torch

from dsnot_exp.models.packed import INTEGERS, Packed, pack, unpack

DTYPES = [
    torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.float8_e4m3fn,
    torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool,
]  # fmt: skip
SHAPES = [(), (0,), (1,), (7,), (8,), (9, 5), (3, 4, 5), (0, 3)]


def same_bits(one: torch.Tensor, other: torch.Tensor) -> bool:
    integer = INTEGERS[one.dtype.itemsize]
    alike = one.dtype == other.dtype and one.shape == other.shape
    return alike and torch.equal(one.reshape(-1).view(integer), other.reshape(-1).view(integer))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_dtype_and_shape_comes_back_to_the_bit(dtype, shape):
    drawn = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 3
    tensor = drawn.where(drawn.abs() > 2, 0).to(dtype)
    found = pack(tensor)
    assert found.values.numel() == int(tensor.double().count_nonzero())
    assert same_bits(unpack(found), tensor)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_minus_zero_and_nan_are_values(dtype):
    tensor = torch.tensor([0.0, -0.0, float("nan"), float("inf"), 1e-45, 0.0]).to(dtype)
    found = pack(tensor)
    assert same_bits(unpack(found), tensor)
    kept_by_rounding = dtype == torch.float32  # 1e-45 is 0 in 16 bits
    assert found.values.numel() == 3 + kept_by_rounding


def test_the_first_entry_is_the_lowest_bit_of_the_first_byte():
    found = pack(torch.tensor([[5.0, 0, 0], [0, 0, 0], [0, 0, 7]]))
    assert found.bits.tolist() == [1, 1]
    assert found.values.tolist() == [5, 7]


def test_a_transposed_view_comes_back_in_its_own_order():
    tensor = torch.arange(12.0).view(3, 4).T
    assert torch.equal(unpack(pack(tensor)), tensor)


def test_sixty_percent_zeros_in_bfloat16_take_less_than_half():
    tensor = torch.ones(100, 100, dtype=torch.bfloat16)
    tensor[:60] = 0
    assert pack(tensor).nbytes == 10_000 // 8 + 4_000 * 2
    assert pack(tensor).nbytes < 0.5 * tensor.nbytes


def test_parts_that_do_not_belong_together_are_refused():
    found = pack(torch.tensor([1.0, 0, 2.0]))
    with pytest.raises(ValueError, match="1 values for 2 bits"):
        unpack(Packed(found.bits, found.values[:1], found.shape))
    with pytest.raises(ValueError, match="bytes of bits"):
        unpack(Packed(found.bits, found.values, (9,)))
    with pytest.raises(TypeError, match="complex64"):
        pack(torch.zeros(2, dtype=torch.complex64))
