"""Gram matrices of bfloat16 tokens: every way to compute them against float64."""

from __future__ import annotations

import ctypes
import subprocess

import pytest
import torch
from torch import Tensor

from dsnot_exp.methods import gram_kernel, native
from dsnot_exp.methods.gram import add_cross, add_gram, mirror

SIZES = [(2, 33, 50), (1, 1, 17), (3, 70, 100), (1, 64, 96)]


@pytest.fixture(scope="module")
def amx(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """gram.c as on a processor with AMX, whose instructions are emulated."""
    if native.compiler() is None:
        pytest.skip("no C compiler")
    made = tmp_path_factory.mktemp("amx") / "gram.so"
    source = str(native.FOLDER / "gram.c")
    flags = ["-O2", "-DEMULATE_AMX", "-shared", "-fPIC"]
    subprocess.run([native.compiler() or "cc", *flags, "-o", str(made), source], check=True)
    library = ctypes.CDLL(str(made))
    assert library.matrix_units() == 2
    return library


def half(shape: tuple[int, int, int]) -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return (torch.randn(shape, generator=generator) * 3 + 1).bfloat16()


def exact(tokens: Tensor) -> Tensor:
    flat = tokens.flatten(0, 1).double()
    return (flat.T @ flat).float()


@pytest.mark.parametrize("shape", SIZES, ids=str)
def test_the_sums_are_float32(shape: tuple[int, int, int]) -> None:
    """By the processor's own bfloat16 products, or in slices of float32: as exact as float32."""
    tokens, gram = half(shape), torch.zeros(shape[2], shape[2])
    for _ in range(2):
        add_gram(gram, tokens)
    torch.testing.assert_close(mirror(gram), 2 * exact(tokens), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("left", [1, 40, 67])
@pytest.mark.parametrize("shape", SIZES, ids=str)
def test_cross_products_of_two_inputs(
    amx: ctypes.CDLL, shape: tuple[int, int, int], left: int, dtype: torch.dtype
) -> None:
    tokens, others = half(shape).to(dtype), half((*shape[:2], left)).to(dtype)
    wanted = (others.flatten(0, 1).double().T @ tokens.flatten(0, 1).double()).float()
    sums = torch.ones(left, shape[2])
    add_cross(sums, others, tokens)
    torch.testing.assert_close(sums, wanted + 1, rtol=1e-5, atol=1e-4)
    if dtype == torch.bfloat16:
        gram_kernel.add_cross(sums, others, tokens, amx)
        torch.testing.assert_close(sums, 2 * wanted + 1, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("shape", SIZES, ids=str)
def test_tiles_of_a_processor_with_amx(amx: ctypes.CDLL, shape: tuple[int, int, int]) -> None:
    tokens, gram = half(shape), torch.ones(shape[2], shape[2])
    gram_kernel.add_gram(gram, tokens, amx)
    torch.testing.assert_close(mirror(gram), exact(tokens) + 1, rtol=1e-5, atol=1e-4)


def test_a_processor_that_adds_up_wrongly_is_not_used(
    amx: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert gram_kernel.is_right(amx)

    def wrong(gram: Tensor, tokens: Tensor, library: object = None) -> None:
        gram += exact(tokens)
        gram[3, 4] += 1

    monkeypatch.setattr(gram_kernel, "add_gram", wrong)
    monkeypatch.setattr(native, "library", lambda name: amx)
    monkeypatch.setattr(native, "available", lambda name: True)
    gram_kernel.available.cache_clear()
    try:
        assert not gram_kernel.available()
    finally:
        gram_kernel.available.cache_clear()
    assert "wrong sums" in caplog.text


def test_without_such_a_processor_slices_are_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gram_kernel, "available", lambda: False)
    tokens, gram = half((2, 600, 40)), torch.zeros(40, 40)
    add_gram(gram, tokens)
    torch.testing.assert_close(mirror(gram), exact(tokens), rtol=1e-5, atol=1e-3)


def test_threads_do_not_change_a_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gram_kernel, "LITTLE", 0)
    tokens, found = half((2, 100, 400)), []
    for threads in (1, 3):
        monkeypatch.setattr(torch, "get_num_threads", lambda n=threads: n)
        gram = torch.zeros(400, 400)
        add_gram(gram, tokens)
        found.append(gram)
    assert torch.equal(*found)


def test_the_part_below_the_diagonal_mirrors_the_part_above() -> None:
    gram = torch.randn(1100, 1100)
    above = gram.triu()
    assert torch.equal(mirror(gram), above + above.triu(1).T)
