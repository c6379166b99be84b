"""Fake tensors of device `cuda`, which have a device and a shape but no numbers: code whose control
flow does not depend on numbers runs as on a GPU, and refuses tensors of two devices.

Collected by test_pipeline.py only: the stand-in's library has what lets fake tensors be indexed in
a torch without CUDA.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses import FakeTensorMode
from torch._subclasses.fake_tensor import FakeTensorDeviceMismatchError

from dsnot_exp.evaluate.losses import mean_loss
from dsnot_exp.methods.gram import add_cross, add_gram, adds_in_float32, mirror, product
from dsnot_exp.methods.layer_error import contribution, expected_error, outputs, token_errors
from dsnot_exp.methods.moments import moments, spread
from dsnot_exp.methods.normal_equations import Normalised, correction, right_side
from dsnot_exp.methods.protocols import Initial
from dsnot_exp.methods.statistics import Accumulator, InputStatistics, Statistic, Target
from dsnot_exp.walk.hidden_states import States

CUDA, CPU = torch.device("cuda", 0), torch.device("cpu")
WIDTH, OUT = 48, 32
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)


@pytest.fixture(autouse=True)
def fake() -> Iterator[FakeTensorMode]:
    with FakeTensorMode() as mode:
        yield mode


def tokens(dtype: torch.dtype = torch.bfloat16, width: int = WIDTH) -> Tensor:
    """(sequences, tokens, in)"""
    return torch.randn(3, 16, width, device=CUDA, dtype=dtype)


def statistics(dtype: torch.dtype = torch.bfloat16) -> InputStatistics:
    needs = frozenset({Statistic.VAR, Statistic.GRAM, Statistic.NORMALISED, Statistic.SAMPLE})
    counted = Accumulator(WIDTH, needs, CUDA)
    counted.update(tokens(dtype), sampled=4)
    drift, residual = torch.zeros(WIDTH, WIDTH, device=CUDA), torch.zeros(OUT, WIDTH, device=CUDA)
    found = counted.finish()
    return replace(found, drift=drift, residual_drift=residual, target=Target(0.5, 0.25))


def tensors(of: Any) -> dict[str, Tensor]:
    return {name: value for name, value in vars(of).items() if isinstance(value, Tensor)}


@DTYPES
def test_statistics(dtype: torch.dtype) -> None:
    found = tensors(statistics(dtype))
    assert {tensor.device for tensor in found.values()} == {CUDA}
    numbers = {name for name, tensor in found.items() if tensor.dtype == torch.float32}
    assert numbers >= {"mean", "var", "sequence_var", "norm", "gram", "unit_gram", "unit"}
    assert found["sample"].dtype == dtype
    for mean in moments(tokens(dtype)[0], varies=False):
        assert (mean.dtype, mean.device) == (torch.float64, CUDA)
    assert spread(tokens(dtype), 4).device == CUDA


@DTYPES
def test_products_add_up_in_float32_on_the_device(dtype: torch.dtype) -> None:
    """Half-precision ones without a float32 copy of the tokens, as NVIDIA's GPUs can."""
    assert adds_in_float32(CUDA)
    rows = tokens(dtype)[0]
    made = [product(rows.T, rows), outputs(rows, torch.randn(OUT, WIDTH, device=CUDA, dtype=dtype))]
    gram, cross = (torch.zeros(WIDTH, WIDTH, device=CUDA) for _ in range(2))
    add_gram(gram, tokens(dtype))
    add_cross(cross, tokens(dtype), tokens(dtype))
    for tensor in [*made, mirror(gram), cross]:
        assert (tensor.dtype, tensor.device) == (torch.float32, CUDA)


def test_normal_equations_and_errors() -> None:
    seen, weight = statistics(), torch.randn(OUT, WIDTH, device=CUDA, dtype=torch.bfloat16)
    assert seen.unit_gram is not None
    assert seen.unit is not None
    problem = Normalised(seen.unit_gram, seen.unit)
    pull = correction(weight, seen)
    assert pull is not None
    initial = Initial(weight > 0, weight, weight.float())
    made = [pull, right_side(problem, weight, seen), problem.scaled(weight)]
    made += [contribution(weight, seen), expected_error(weight, initial, seen)]
    made += [problem.restored(made[1], weight), token_errors(weight, weight)]
    assert {tensor.device for tensor in made} == {CUDA}


def test_losses_come_back_to_the_logits_device() -> None:
    logits, ids = torch.randn(15, 96, device=CUDA), torch.zeros(16, dtype=torch.int64)
    assert mean_loss(iter([logits[:9], logits[9:]]), ids).device == CUDA


def gram(device: torch.device = CUDA) -> Tensor:
    return torch.zeros(WIDTH, WIDTH, device=device)


def elsewhere(name: str) -> InputStatistics:
    """Statistics of which one is in memory."""
    seen = statistics()
    return replace(seen, **{name: getattr(seen, name).cpu()})


def weight(device: torch.device = CUDA) -> Tensor:
    return torch.zeros(OUT, WIDTH, device=device)


MIXED: dict[str, Callable[[], Any]] = {
    "a Gram matrix in memory": lambda: add_gram(gram(CPU), tokens()),
    "tokens in memory": lambda: add_gram(gram(), tokens(torch.float32).cpu()),
    "cross products, left in memory": lambda: add_cross(gram(), tokens().cpu(), tokens()),
    "a product, left": lambda: product(weight(CPU), weight().T),
    "a product, right": lambda: product(weight(), weight(CPU).T),
    "outputs, weight in memory": lambda: outputs(tokens(torch.float32), weight(CPU)),
    "contribution, mean in memory": lambda: contribution(weight(), elsewhere("mean")),
    "contribution, weight in memory": lambda: contribution(weight(CPU), statistics()),
    "drift in memory": lambda: correction(weight(), elsewhere("drift")),
    "residual drift in memory": lambda: correction(weight(), elsewhere("residual_drift")),
}


@pytest.mark.parametrize("name", MIXED)
def test_tensors_of_two_devices_are_refused(name: str) -> None:
    with pytest.raises((FakeTensorDeviceMismatchError, RuntimeError), match="same device"):
        MIXED[name]()


@pytest.mark.parametrize(("place", "kept"), [("device", CUDA), ("memory", CPU)])
def test_hidden_states_are_kept_in_their_place_and_read_on_the_device(
    place: str, kept: torch.device
) -> None:
    states = States(CUDA, place)
    states.append(tokens())
    states[0] = tokens().cpu()
    states.split(2)
    assert [batch.device for batch in states.snapshot()] == [kept, kept]
    assert [(batch.device, len(batch)) for batch in states] == [(CUDA, 2), (CUDA, 1)]
