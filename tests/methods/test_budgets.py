"""How many weights a pattern keeps, where a mask's budget is compared, and a mask as bytes."""

from __future__ import annotations

import pytest
import torch

from dsnot_exp.methods.patterns import (
    NM,
    Pattern,
    SharedRows,
    Unstructured,
    check_budget,
    over,
    packed,
    parse,
)
from dsnot_exp.utils.distributed import ALONE, Ranks
from dsnot_exp.utils.errors import RequestError


def mask_of(*rows: str) -> torch.Tensor:
    return torch.tensor([[char == "1" for char in row] for row in rows])


@pytest.mark.parametrize(
    ("sparsity", "pruned"),
    [(0.29, 28), (0.57, 56), (0.58, 57), (0.999, 99), (0.009, 0), (0.01, 1), (0.0, 0)],
)
def test_a_budget_is_rounded_down_in_floating_point_as_released(
    sparsity: float, pruned: int
) -> None:
    """int(100 * 0.29) is 28: the product is a little below 29."""
    scores = torch.rand(100, 100, generator=torch.Generator().manual_seed(0))
    assert ((~Unstructured(sparsity).mask(scores)).sum(1) == pruned).all()
    square = scores[:10, :10]
    assert int((~Unstructured(sparsity).mask(square, "matrix")).sum()) == pruned


def test_the_smallest_go_and_among_equals_the_leftmost() -> None:
    scores = torch.tensor([[3.0, 1.0, 2.0, 1.0], [0.0, 0.0, 0.0, 5.0]])
    expected = {
        "row": (Unstructured(0.5), ("1010", "0011")),
        "matrix": (Unstructured(0.5), ("1011", "0001")),
        "group": (NM(1, 2), ("1010", "0101")),
    }
    for scope, (pattern, rows) in expected.items():
        assert torch.equal(pattern.mask(scores, scope), mask_of(*rows)), scope


@pytest.mark.parametrize(
    ("pattern", "sparsity"),
    [(NM(2, 4), 0.5), (NM(1, 4), 0.75), (NM(3, 4), 0.25), (NM(5, 8), 0.375)],
)
def test_n_of_m_are_kept(pattern: NM, sparsity: float) -> None:
    assert pattern.sparsity == sparsity
    assert str(pattern) == f"{pattern.n}:{pattern.m}"
    scores = torch.rand(3, 2 * pattern.m, generator=torch.Generator().manual_seed(0))
    for scope in ("row", "matrix"):
        assert (pattern.mask(scores, scope).view(3, 2, -1).sum(-1) == pattern.n).all()


def test_a_sparsity_beside_a_pattern_may_be_rounded() -> None:
    assert parse("1:3", 0.6666666667) == NM(1, 3)
    for sparsity in (0.6666, 0.667):
        with pytest.raises(RequestError, match="pattern=1:3"):
            parse("1:3", sparsity)
    assert parse("unstructured", 0.0) == Unstructured(0.0)
    assert parse("10:12", None) == NM(10, 12)


@pytest.mark.parametrize(
    ("after", "broken"),
    [
        (("11001100", "10101010"), []),
        (("11000011", "10101010"), []),
        (("00111100", "10101010"), []),
        (("11101000", "10101010"), [NM(2, 4)]),  # from one group to another
        (("11101100", "10100010"), [NM(2, 4), Unstructured(0.5)]),  # from one row to another
        (("11101100", "10101010"), [NM(2, 4), Unstructured(0.5)]),  # one more
        (("11001100", "10001010"), [NM(2, 4), Unstructured(0.5)]),  # one less
    ],
)
@pytest.mark.parametrize("pattern", [Unstructured(0.5), NM(2, 4)], ids=str)
def test_a_budget_holds_in_every_row_and_in_every_group(
    pattern: Pattern, after: tuple[str, ...], broken: list[Pattern]
) -> None:
    before = mask_of("11001100", "10101010")
    if pattern in broken:
        with pytest.raises(AssertionError, match="budget"):
            check_budget(before, mask_of(*after), pattern)
    else:
        check_budget(before, mask_of(*after), pattern)


@pytest.mark.parametrize("on_gpu", [False, True])
@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (("10000000",), b"\x80"),
        (("00000001",), b"\x01"),
        (("1", "1", "0"), b"\xc0"),
        (("10000000", "00000011"), b"\x80\x03"),
        (("101", "000", "111"), b"\xa3\x80"),
    ],
    ids=str,
)
def test_the_first_entry_of_a_mask_is_the_highest_bit(
    rows: tuple[str, ...], expected: bytes, on_gpu: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also as it is packed on a GPU: the same operations, here on the CPU."""
    mask = mask_of(*rows)
    if on_gpu:
        monkeypatch.setattr("dsnot_exp.methods.patterns.is_accelerator", lambda mask: True)
    assert packed(mask) == expected


def test_a_pattern_for_shares_of_rows_compares_a_matrix_with_everyones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = torch.rand(5, 8, generator=torch.Generator().manual_seed(0))
    whole[:2] += 1
    asked: list[int] = []
    monkeypatch.setattr(Ranks, "concat", lambda self, part: asked.append(self.rank) or whole)
    plain = Unstructured(0.5)
    for rank, rows in ((0, slice(0, 2)), (1, slice(2, 5))):
        shared = over(plain, Ranks(rank, 2))
        assert isinstance(shared, SharedRows)
        assert shared.sparsity == 0.5
        own = whole[rows]
        assert torch.equal(shared.mask(own), plain.mask(own))
        assert rank not in asked  # a row is compared with itself
        assert torch.equal(shared.mask(own, "matrix"), plain.mask(whole, "matrix")[rows])
    assert over(plain, ALONE) is plain
    assert over(NM(2, 4), Ranks(0, 2)) == NM(2, 4)


@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("size", [(7, 11), (401, 499)], ids=str)
def test_a_rough_budget_is_near_and_the_same_whoever_holds_the_rows(
    size: tuple[int, int], sparsity: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """(401, 499) has more entries than the sample."""
    whole = torch.randn(size, generator=torch.Generator().manual_seed(0))
    plain, ranks = Unstructured(sparsity), [Ranks(rank, 3) for rank in range(3)]
    rows = [len(whole[rank.share(len(whole))]) for rank in ranks]
    samples: list[torch.Tensor] = []
    rough = plain.roughly(whole)
    kept = rough != 0
    assert torch.equal(rough, whole * kept)
    assert abs(int((~kept).sum()) - whole.numel() * sparsity) <= 1 + 0.01 * whole.numel()
    assert sparsity == 0 or whole[~kept].abs().max() <= whole[kept].abs().min()
    monkeypatch.setattr(Ranks, "gather", lambda self, value: rows)
    monkeypatch.setattr(Ranks, "concat", lambda self, part: samples.append(part) or part)
    for rank in ranks:
        over(plain, rank).roughly(whole[rank.share(len(whole))])
    monkeypatch.setattr(Ranks, "concat", lambda self, part: torch.cat(samples[:3]))
    for rank in ranks:
        own = rank.share(len(whole))
        assert torch.equal(over(plain, rank).roughly(whole[own]), rough[own])


def test_a_rough_n_of_m_is_exact() -> None:
    values = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(NM(2, 4).roughly(values), values * NM(2, 4).mask(values.abs()))
