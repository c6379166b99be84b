"""A kernel against the plain version and the slow twin, on the CPU: Triton's, interpreted, where
TRITON_INTERPRET=1, and the compiled one elsewhere.

Collected by test_kernel.py only, in a process of its own: Triton decides as it is imported whether
it compiles or interprets.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from types import ModuleType, SimpleNamespace

import pytest
import torch

from dsnot_exp.methods.patterns import NM, Pattern, Unstructured
from dsnot_exp.methods.protocols import Initial, Refined
from dsnot_exp.methods.prune.magnitude import Magnitude
from dsnot_exp.methods.prune.wanda import Wanda
from dsnot_exp.methods.refine.dsnot import backend, c_kernel
from dsnot_exp.methods.refine.dsnot.method import DSnoT
from dsnot_exp.methods.statistics import InputStatistics
from tests.methods.refine import twin
from tests.methods.refine.test_dsnot import layer, moved, refine

PATTERNS: list[Pattern] = [Unstructured(0.6), NM(2, 4), NM(1, 4), NM(2, 6)]


INTERPRETED = backend.on_triton(torch.empty(0))
ROWS = 3 if INTERPRETED else 6  # the interpreter takes hundredths of a second per cycle

if INTERPRETED:
    # It replaces the language's functions again at every call of a helper. Once is enough, and
    # halves the time.
    import triton.language
    from triton.runtime import interpreter

    from dsnot_exp.methods.refine.dsnot.triton_kernel import refine_row

    for function in (refine_row, triton.language.max):
        interpreter._patch_lang(function.fn)
    interpreter._patch_lang = lambda function: SimpleNamespace(restore=lambda: None)


def module() -> ModuleType:
    """The kernel's own."""
    if not INTERPRETED:
        return c_kernel
    from dsnot_exp.methods.refine.dsnot import triton_kernel

    return triton_kernel


@pytest.fixture(autouse=True)
def _rows_of_several_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Triton's kernel takes a row by chunks: 3 of them in 48 columns, and groups of 6 straddle
    two."""
    if INTERPRETED:
        monkeypatch.setattr(module(), "CHUNK", 16)


@pytest.fixture(autouse=True)
def launches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The rows of every launch that came to its end."""
    rows: list[int] = []
    used = module()
    launch = used.refine_rows

    def counted(*args: object) -> tuple[torch.Tensor, ...]:
        result = launch(*args)  # type: ignore[arg-type]
        rows.append(len(result[0]))
        return result

    monkeypatch.setattr(used, "refine_rows", counted)
    return rows


def both(
    method: DSnoT, weight: torch.Tensor, initial: Initial, statistics: InputStatistics,
    pattern: Pattern, launches: list[int],
) -> Refined:  # fmt: skip
    """Refined by the triton_kernel, which has to agree with the plain version in every bit."""
    before = len(launches)
    found = refine(method, weight, initial, statistics, pattern)
    covered = backend.on_triton(weight) or weight.dtype in (torch.float32, torch.bfloat16)
    assert launches[before:] == [len(weight)] * covered
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backend, "usable", lambda weight: False)
        plain = refine(method, weight, initial, statistics, pattern)
    assert len(launches) == before + covered
    for name in ("mask", "error_before", "error_after", "swaps"):
        assert torch.equal(getattr(found, name), getattr(plain, name)), name
    return found


@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
@pytest.mark.parametrize("seed", range(2))
def test_equals_plain_version_and_twin(pattern: Pattern, seed: int, launches: list[int]) -> None:
    weight, statistics = layer(seed, rows=ROWS)
    initial = Wanda()(weight, statistics, pattern, True)
    for method in (DSnoT(max_cycles=3), DSnoT(update_threshold=0.0, variance_power=0.5)):
        found = both(method, weight, initial, statistics, pattern, launches)
        mask, _, swaps = twin.refine(
            weight, initial, statistics, pattern, method.cycles(48),
            method.update_threshold, method.variance_power,
        )  # fmt: skip
        assert torch.equal(found.mask, mask)
        assert found.swaps.tolist() == swaps
        assert found.swaps.sum() > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("pattern", [Unstructured(0.5), NM(2, 4)], ids=str)
def test_numbers_of_any_bits(pattern: Pattern, dtype: torch.dtype, launches: list[int]) -> None:
    width = 130 if isinstance(pattern, Unstructured) else 132
    g = torch.Generator().manual_seed(1)
    _, s = layer(1, width=width)
    statistics = replace(
        s, mean=torch.randn(width, generator=g), var=torch.rand(width, generator=g)
    )
    weight = torch.randn(3, width, generator=g).to(dtype)
    initial = Wanda()(weight, statistics, pattern, True)
    other = DSnoT(max_cycles=8, grow="mean", variance="sequence", only_better="always")
    for method in (DSnoT(max_cycles=20), other):
        both(method, weight, initial, statistics, pattern, launches)
    updated = weight + torch.randn(weight.shape, generator=g).to(dtype) / 8
    sparse = replace(initial, weight=updated, moved=True)
    method = DSnoT(max_cycles=8, only_better="never")
    found = both(method, weight, sparse, statistics, pattern, launches)
    assert not torch.equal(found.mask, initial.mask)


@pytest.mark.parametrize("flip", ["always", "never"])
@pytest.mark.parametrize("pattern", [Unstructured(0.6), NM(2, 4), NM(1, 4)], ids=str)
def test_moved_weights_and_flips(pattern: Pattern, flip: str, launches: list[int]) -> None:
    weight, statistics = layer(3, rows=ROWS)
    initial = replace(
        Wanda()(weight, statistics, pattern, True), weight=moved(weight, 32), moved=True
    )
    method = DSnoT(only_better="never", stop_on_sign_flip=flip)
    found = both(method, weight, initial, statistics, pattern, launches)
    mask, _, _ = twin.refine(weight, initial, statistics, pattern, 50, flip_stops=flip == "always")
    assert torch.equal(found.mask, mask)


def test_ties_and_running_on(launches: list[int]) -> None:
    weight, s = layer(2, rows=ROWS)
    weight = (weight * 2).round() / 2 + 0.25
    ones = torch.ones(48)
    statistics = replace(s, mean=s.mean.abs().round() + 0.5, norm=ones, var=ones)
    initial = Magnitude()(weight, statistics, Unstructured(0.5), True)
    for used_up in ("stop", "run_on"):
        method = DSnoT(used_up=used_up, update_threshold=0.0)
        found = both(method, weight, initial, statistics, Unstructured(0.5), launches)
        mask, _, _ = twin.refine(
            weight, initial, statistics, Unstructured(0.5), 50, 0.0,
            run_on=used_up == "run_on",
        )  # fmt: skip
        assert torch.equal(found.mask, mask)


@pytest.mark.parametrize("pattern", [Unstructured(0.6), NM(2, 4)], ids=str)
def test_a_wide_row(pattern: Pattern, monkeypatch: pytest.MonkeyPatch, launches: list[int]) -> None:
    """Chunks as large as on a GPU, and the last one partly empty; equal keys in several."""
    if INTERPRETED:
        monkeypatch.setattr(module(), "CHUNK", 256)
    weight, statistics = layer(4, rows=3, width=1300)
    weight = (weight * 8).round() / 8
    initial = Wanda()(weight, statistics, pattern, True)
    method = DSnoT(max_cycles=12, update_threshold=0.0, stop_on_sign_flip="never")
    found = both(method, weight, initial, statistics, pattern, launches)
    assert found.swaps.tolist() == [12, 12, 12]
    ends = (found.mask != initial.mask).nonzero()[:, 1]
    assert len(set((ends // 256).tolist())) > 3


@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
def test_degenerate_channels_and_rows(pattern: Pattern, launches: list[int]) -> None:
    weight, s = layer(7, rows=ROWS)
    mean, var, norm = s.mean.clone(), s.var.clone(), s.norm.clone()
    mean[:8], var[:8], norm[:8] = 0, 0, 0  # dead
    var[8:12] = 0  # constant
    mean[12:16] = 0  # centred
    mean[16:20] = 1e-38  # contributions and quotients that underflow
    weight[:, 9] = 0
    statistics = replace(s, mean=mean, var=var, norm=norm)
    initial = Wanda()(weight, statistics, pattern, True)
    initial.mask[0], initial.mask[1] = True, False
    found = both(DSnoT(), weight, initial, statistics, pattern, launches)
    assert torch.equal(found.mask[:2], initial.mask[:2])
    assert not (found.mask & ~initial.mask)[:, :8].any(), "a dead channel was grown"


def test_no_cycles_and_other_criteria_launch_nothing(launches: list[int]) -> None:
    weight, statistics = layer(0, rows=ROWS)
    pattern = Unstructured(0.6)
    initial = Wanda()(weight, statistics, pattern, True)
    none = refine(DSnoT(max_cycles=0), weight, initial, statistics, pattern)
    assert torch.equal(none.mask, initial.mask)
    for method in (DSnoT(grow="wanda"), DSnoT(prune="wanda"), DSnoT(prune="magnitude")):
        refine(method, weight, initial, statistics, pattern)
    assert launches == []


def test_a_launch_that_fails_is_told_once_and_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, launches: list[int]
) -> None:
    def refused(*args: object) -> None:
        raise RuntimeError("out of resource: registers")

    weight, statistics = layer(0, rows=ROWS)
    pattern = Unstructured(0.6)
    initial = Wanda()(weight, statistics, pattern, True)
    found = both(DSnoT(), weight, initial, statistics, pattern, launches)
    monkeypatch.setattr(module(), "refine_rows", refused)
    monkeypatch.setattr(backend, "_failed", set())
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            plain = refine(DSnoT(), weight, initial, statistics, pattern)
            assert torch.equal(plain.mask, found.mask)
    assert [r.getMessage().count("out of resource: registers") for r in caplog.records] == [1]
