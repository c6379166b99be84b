"""Questions to the machine's accelerator, where there is none and where torch says there is one.
What an accelerator answers itself is tested in tests/standin/."""

from __future__ import annotations

import psutil
import pytest
import torch

from dsnot_exp.run.device import device_of
from dsnot_exp.utils import accelerator
from dsnot_exp.utils.errors import RequestError

CPU, CUDA, MPS = torch.device("cpu"), torch.device("cuda"), torch.device("mps")


def there_is(
    device: torch.device | None,
    monkeypatch: pytest.MonkeyPatch,
    count: int = 2,
    float64: bool = True,
) -> None:
    monkeypatch.setattr(accelerator, "present", lambda: device)
    monkeypatch.setattr("torch.accelerator.device_count", lambda: count)
    monkeypatch.setattr(accelerator, "has_float64", lambda of: float64 or of.type == "cpu")


def test_a_machine_without_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.accelerator.current_accelerator", lambda check_available: None)
    assert accelerator.present() is None
    assert accelerator.count() == 0
    accelerator.release_memory()
    assert device_of("auto") == CPU


def test_memory_and_parts_of_a_cpu() -> None:
    assert accelerator.total_memory(CPU) == psutil.virtual_memory().total
    assert 0 < accelerator.free_memory(CPU) < accelerator.total_memory(CPU)
    accelerator.forget_peak(CPU)
    accelerator.wait(CPU)
    assert accelerator.peak_memory(CPU) == 0
    assert accelerator.name(CPU) == "cpu"


def test_only_memory_of_its_own_makes_an_accelerator() -> None:
    kinds = {kind: accelerator.is_accelerator(torch.device(kind)) for kind in ("cpu", "meta")}
    assert kinds == {"cpu": False, "meta": False}
    assert all(accelerator.is_accelerator(torch.device(kind)) for kind in ("cuda", "xpu", "mps"))
    assert not accelerator.is_accelerator(torch.empty(1))
    assert not accelerator.is_accelerator(torch.empty(1, device="meta"))


@pytest.mark.parametrize("kind", ["cuda", "xpu"])
def test_auto_is_the_accelerator(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    there_is(torch.device(kind), monkeypatch)
    assert device_of("auto") == device_of(kind) == torch.device(kind)
    assert device_of(f"{kind}:1") == torch.device(kind, 1)
    assert device_of("cpu") == CPU


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cuda:2", "device=cuda:2: this machine has 2 CUDA devices that torch "),
        ("xpu", "device=xpu: this machine has 0 XPU devices that torch "),
        ("tpu", "device=tpu: torch .* knows no such device; choose from auto, cpu, cuda, "),
        ("cpu:0", "device=cpu:0: torch .* knows no such device"),
        ("meta", "device=meta: torch .* knows no such device"),
        ("cuda:300", "device=cuda:300: torch .* knows no such device"),
    ],
)
def test_what_this_machine_lacks_is_refused(
    name: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    there_is(CUDA, monkeypatch)
    with pytest.raises(RequestError, match=message):
        device_of(name)


def test_a_device_without_float64_is_not_chosen_and_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there_is(MPS, monkeypatch, count=1, float64=False)
    assert device_of("auto") == CPU
    with pytest.raises(RequestError, match=r"device=mps: it has no float64 .*; choose device=cpu"):
        device_of("mps")
