"""The Triton kernel, compiled for GPUs by Triton's compilers without one: nothing spills, numbers
are rounded as in the plain version, and threads wait for what one of them has stored."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

pytest.importorskip("triton", reason="no Triton here")

from dsnot_exp.methods.refine.dsnot.triton_kernel import constants
from tests.benchmarks import kernel_resources
from tests.benchmarks.kernel_resources import ARCHS, WIDTHS, compiled, resources

WORST = "unstructured+run_on"
NVIDIA = [arch for arch in ARCHS if arch.startswith("sm_")]
AMD = [arch for arch in ARCHS if arch.startswith("gfx")]


@pytest.fixture(scope="module", autouse=True)
def _fresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing that an earlier version has compiled."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_CACHE_DIR", str(tmp_path_factory.mktemp("triton")))
        yield
    kernel_resources._compiled.cache_clear()


@pytest.mark.parametrize("arch", NVIDIA)
def test_nothing_spills_at_any_width_of_a_model(arch: str) -> None:
    cases = [(width, WORST) for width in WIDTHS] + [(28672, "2:4+flip_stops")]
    for width, kind in cases:
        found = resources(arch, compiled(arch, width, "float32", kind))
        assert (found.spilled, found.stack, found.shared) == ((0, 0), 0, 0), (width, kind)
        assert found.registers <= 128, (width, kind)
        assert found.blocks >= 16, (width, kind)


@pytest.mark.parametrize("arch", AMD)
def test_nothing_spills_on_amd(arch: str) -> None:
    kernel = compiled(arch, 28672, "float32", WORST)
    found = resources(arch, kernel)
    assert (found.spilled, found.stack, found.shared) == ((0, 0), 0, 0)
    assert found.registers <= 96
    assert found.blocks >= 20


@pytest.mark.parametrize("arch", NVIDIA)
@pytest.mark.parametrize("kind", [WORST, "2:4+flip_stops"])
def test_every_operation_is_rounded_on_its_own(arch: str, kind: str) -> None:
    ptx = compiled(arch, 28672, "float32", kind).asm["ptx"]
    used = set(
        re.findall(r"\b((?:mul|div|add|sub|fma|mad|rcp)\.[a-z0-9.]*f(?:32|64)(?:x2)?)\b", ptx)
    )
    # One product or quotient in float32 at a time, and the error's two steps in float64.
    assert used <= {"mul.rn.f32", "mul.rn.f32x2", "div.rn.f32", "add.rn.f64", "sub.rn.f64"}
    assert {"div.rn.f32", "add.rn.f64", "sub.rn.f64"} <= used
    assert "ftz" not in ptx, "numbers below 1e-38 become 0"


@pytest.mark.parametrize("arch", AMD)
def test_amd_divides_exactly_and_keeps_small_numbers(arch: str) -> None:
    text = compiled(arch, 28672, "float32", WORST).asm["amdgcn"]
    assert text.count("v_rcp_f32") == text.count("v_div_fixup_f32") > 0
    assert ".amdhsa_float_denorm_mode_32 3" in text


@pytest.mark.parametrize("arch", NVIDIA)
def test_a_barrier_stands_between_a_store_of_a_thread_and_the_next_cycle(arch: str) -> None:
    """Not to be seen in the interpreter, which has one thread."""
    ptx = compiled(arch, 28672, "float32", WORST).asm["ptx"]
    steps = re.findall(r"\b(ld\.global|st\.global\.b8|bar\.(?:warp\.)?sync)\b", ptx)
    last = max(place for place, step in enumerate(steps) if step == "st.global.b8")
    assert steps[last + 1] in ("bar.sync", "bar.warp.sync")
    assert "ld.global.nc" not in ptx, "a load that need not see the program's own stores"


@pytest.mark.parametrize("width", [1, 48, 256, 257, 28672, 65536, 65537, 1 << 20])
def test_the_chunks_hold_every_column(width: int) -> None:
    used = constants(width, 0, False, False)
    assert used["CHUNK"] * used["CHUNKS"] >= width
    assert used["CHUNK"] * (used["CHUNKS"] // 2) < width, "half of the chunks would do"
    assert used["CHUNKS"] <= used["CHUNK"]
