"""The kernels, on the CPU: Triton's interpreted, and the compiled one, each in a process of its
own; and when they are chosen."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dsnot_exp.methods import native
from dsnot_exp.methods.patterns import Unstructured
from dsnot_exp.methods.prune.wanda import Wanda
from dsnot_exp.methods.refine.dsnot import backend
from dsnot_exp.methods.refine.dsnot.method import DSnoT
from tests.methods.refine.test_dsnot import layer, refine

CASES = Path(__file__).with_name("kernel_cases.py")
EDGES = Path(__file__).with_name("test_edge_cases.py")
ROOT = CASES.parents[2]


@pytest.mark.parametrize(
    "interpret",
    [
        pytest.param(
            "0", marks=pytest.mark.skipif(native.compiler() is None, reason="no C compiler here")
        ),
        pytest.param(
            "1",
            marks=pytest.mark.skipif(
                importlib.util.find_spec("triton") is None, reason="no Triton here"
            ),
        ),
    ],
)
def test_a_kernel_equals_the_plain_version_in_every_bit(interpret: str) -> None:
    files = [str(CASES), str(EDGES)]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files]
    environment = {**os.environ, "TRITON_INTERPRET": interpret}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_without_triton_nothing_imports_it() -> None:
    code = (
        "import os, sys; sys.modules['triton'] = None; os.environ['TRITON_INTERPRET'] = '1'\n"
        "import dsnot_exp.run.plan, torch\n"
        "from dsnot_exp.methods.refine.dsnot import backend\n"
        "assert not backend.usable(torch.zeros(2, 2))"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="no Triton here")
def test_chosen_on_a_gpu_for_any_width_and_dtype(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert backend.usable(torch.empty(2, 1 << 17, dtype=torch.float16))


@pytest.mark.skipif(native.compiler() is None, reason="no C compiler here")
def test_compiled_for_what_is_in_memory_where_there_is_a_compiler(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    assert backend.usable(torch.empty(2, 8))
    assert backend.usable(torch.empty(2, 1 << 15, dtype=torch.bfloat16))
    assert not backend.usable(torch.empty(2, 8, dtype=torch.float16))
    monkeypatch.setenv("CC", "no-such-compiler")
    native.available.cache_clear()
    assert not backend.usable(torch.empty(2, 8))
    native.available.cache_clear()


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_and_wide_rows_change_nothing(threads: int) -> None:
    weight, statistics = layer(0, rows=37, width=1030)
    weight += torch.rand(weight.shape, generator=torch.Generator().manual_seed(0)) / 1024
    initial = Wanda()(weight, statistics, Unstructured(0.6), True)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = refine(DSnoT(), weight, initial, statistics, Unstructured(0.6))
    finally:
        torch.set_num_threads(before)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backend, "usable", lambda weight: False)
        plain = refine(DSnoT(), weight, initial, statistics, Unstructured(0.6))
    assert torch.equal(found.mask, plain.mask)
    assert torch.equal(found.error_after, plain.error_after)
    assert found.swaps.sum() > 0


def test_a_compiler_that_fails_costs_speed_and_no_result(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("DSNOT_EXP_CACHE", str(tmp_path))
    monkeypatch.setenv("CC", "false")
    native.library.cache_clear()
    native.available.cache_clear()
    weight, statistics = layer(0)
    initial = Wanda()(weight, statistics, Unstructured(0.6), True)
    for _ in range(2):
        found = refine(DSnoT(), weight, initial, statistics, Unstructured(0.6))
        assert found.swaps.sum() > 0
    native.available.cache_clear()
    told = [r.getMessage() for r in caplog.records]
    for name in ("dsnot_rows", "topk"):
        assert len([line for line in told if f"{name}.c cannot be compiled" in line]) == 1
    assert list(tmp_path.rglob("*.so")) == []
