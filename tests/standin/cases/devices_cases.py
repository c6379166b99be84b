"""Tensors meet on one device only; the device takes part in what torch asks of an accelerator."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable

import pytest
import torch

SAME = "Expected all tensors to be on the same device, but found at least two devices"
Action = Callable[[], object]


def on(device: str, *shape: int) -> torch.Tensor:
    return torch.ones(shape, device=device)


MIXED: dict[str, Action] = {
    "an elementwise operator": lambda: on("standin", 3) + on("cpu", 3),
    "a product": lambda: on("standin", 3, 3) @ on("cpu", 3, 3),
    "the CPU's tensor first": lambda: on("cpu", 3, 3) @ on("standin", 3, 3),
    "a list": lambda: torch.cat([on("standin", 3), on("cpu", 3)]),
    "out=": lambda: torch.mul(on("standin", 3), 2, out=on("cpu", 3)),
    "an index that selects": lambda: on("standin", 3).index_select(0, torch.tensor([0])),
    "an index that gathers": lambda: on("standin", 3).gather(0, torch.tensor([0])),
    "a mask of 3": lambda: on("standin", 3).masked_fill_(torch.ones(3, dtype=torch.bool), 1),
    "an embedding": lambda: torch.nn.functional.embedding(
        torch.zeros(2, dtype=torch.long, device="standin"), on("cpu", 3, 3)
    ),
    "a scalar that is written": lambda: on("cpu").add_(on("standin")),
    "a scalar that is out=": lambda: torch.sum(on("standin", 3), dim=0, out=on("cpu")),
    "two devices": lambda: on("standin:0", 3) + on("standin:1", 3),
    "a product of two devices": lambda: on("standin:0", 3, 3) @ on("standin:1", 3, 3),
    "scalars of two devices": lambda: torch.maximum(on("standin:0", 3), on("standin:1")),
    "foreach": lambda: torch._foreach_add_([on("standin", 3)], [on("cpu", 3)]),
}


@pytest.mark.parametrize("act", MIXED.values(), ids=MIXED.keys())
def test_tensors_of_two_devices_do_not_meet(act: Action) -> None:
    with pytest.raises(RuntimeError, match=SAME):
        act()


def test_the_cpu_cannot_be_indexed_from_the_device() -> None:
    with pytest.raises(RuntimeError, match="indices should be either on cpu or on the same device"):
        on("cpu", 3)[torch.tensor([0], device="standin")]


def test_a_scalar_on_the_cpu_is_read() -> None:
    number = torch.tensor(2.0)
    tensor = on("standin", 3)
    assert (tensor * number).tolist() == (number * tensor).tolist() == [2, 2, 2]
    assert tensor.masked_fill_(tensor > 0, number).tolist() == [2, 2, 2]
    assert torch.where(tensor > 2, tensor, number).tolist() == [2, 2, 2]


def test_indices_on_the_cpu_index() -> None:
    tensor = torch.arange(6.0, device="standin").reshape(2, 3)
    rows, columns = torch.tensor([0, 1]), torch.tensor([2, 0])
    assert tensor[rows, columns].tolist() == [2, 3]
    tensor[rows, columns] = 9.0
    tensor[rows == 0] += 1
    assert tensor.tolist() == [[1, 2, 10], [9, 4, 5]]


def test_torch_knows_the_accelerator() -> None:
    assert torch.accelerator.current_accelerator() == torch.device("standin")
    assert torch.accelerator.device_count() == 2
    torch.accelerator.set_device_index(1)
    try:
        assert torch.empty(1, device="standin").device == torch.device("standin:1")
        assert torch.get_device_module("standin").current_device() == 1
    finally:
        torch.accelerator.set_device_index(0)
    with pytest.raises(RuntimeError, match="invalid device ordinal 2: 2 available"):
        torch.empty(1, device="standin:2")


def test_factories_make_there() -> None:
    with torch.device("standin:1"):
        layer = torch.nn.Linear(2, 2)
    made = [
        layer.weight,
        torch.zeros_like(on("cpu", 2), device="standin:1"),
        torch.tensor([1, 2], device="standin:1"),
        torch.arange(3, device="standin:1"),
        torch.tril_indices(3, 3, device="standin:1"),
        on("standin:1", 2).new_zeros(2),
    ]
    assert {tensor.device for tensor in made} == {torch.device("standin:1")}


def test_copies_go_everywhere() -> None:
    tensor = torch.arange(3.0)
    there = tensor.to("standin:0").to("standin:1", torch.float64)
    assert there.device.index == 1
    assert torch.equal(there.cpu(), tensor.double())
    assert torch.equal(torch.zeros(2, 3).copy_(there), tensor.expand(2, 3))
    assert tensor.standin().is_standin


def test_a_tensor_is_copied_saved_and_loaded() -> None:
    weight = torch.nn.Parameter(torch.randn(3, 3, device="standin:1"))
    twin = copy.deepcopy(weight)
    twin.data.zero_()
    assert twin.device == weight.device
    assert weight.abs().sum() > 0
    file = io.BytesIO()
    torch.save(weight, file)
    file.seek(0)
    loaded = torch.load(file)
    assert loaded.device == weight.device
    assert torch.equal(loaded, weight)
    file.seek(0)
    assert torch.load(file, map_location="cpu").device.type == "cpu"
