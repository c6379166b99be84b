"""Adam on the kept weights of a block, here of a single linear layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

from dsnot_exp.methods.block_protocols import Fit, Loss
from dsnot_exp.methods.reconstruct.block import Block
from dsnot_exp.utils.distributed import ALONE, Ranks
from tests.support.ranks import in_processes


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


MIXED = normal(8, 8, seed=5)  # correlated inputs, so that kept weights can stand in for others
INPUTS, HELD_OUT = normal(12, 20, 8, seed=1) @ MIXED, normal(3, 20, 8, seed=2) @ MIXED
DENSE = normal(6, 8, seed=3)
MASK = normal(6, 8, seed=4) > 0


@dataclass
class Layer:
    """A linear layer whose outputs are wanted to be those of the dense weight. share: of the
    sequences, for one of several processes"""

    share: slice = field(default_factory=lambda: slice(None))
    size: int = 3
    dtype: torch.dtype = torch.float32
    spoilt: Callable[[float], float] = lambda loss: loss
    errors: list[float] = field(default_factory=list)
    seen: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.parameter = DENSE.masked_fill(~MASK, 0).to(self.dtype).requires_grad_()
        self.inputs, self.apart = INPUTS[self.share], HELD_OUT[self.share]

    @property
    def weight(self) -> Tensor:
        return self.parameter.data

    @property
    def gradient(self) -> Tensor | None:
        return self.parameter.grad

    @property
    def batches(self) -> int:
        return -(-len(self.inputs) // self.size)

    def backward(self, batch: int, loss: Loss) -> tuple[float, int]:
        self.seen.append(batch)
        self.parameter.grad = None
        inputs = self.inputs[batch * self.size :][: self.size].to(self.dtype)
        if not len(inputs):
            return 0.0, 0
        error = loss(inputs @ self.parameter.T, inputs.float() @ DENSE.T)
        error.backward()
        return self.spoilt(float(error.detach())), inputs.shape[:2].numel()

    def held_out(self, loss: Loss) -> tuple[float, int]:
        inputs = self.apart.to(self.dtype)
        error = float(loss(inputs @ self.weight.T, inputs.float() @ DENSE.T))
        self.errors.append(error / max(1, inputs.shape[:2].numel()))
        return error, inputs.shape[:2].numel()


def fitted(layer: Layer, method: Block, ranks: Ranks = ALONE) -> Fit:
    generator = torch.Generator().manual_seed(0)
    return method.train_block([layer], [MASK], layer, generator, ranks)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_error_falls_and_pruned_weights_stay_zero(dtype: torch.dtype) -> None:
    layer = Layer(dtype=dtype)
    fit = fitted(layer, Block(epochs=20, lr=0.05, patience=20))
    assert fit.before == layer.errors[0]
    assert fit.after == min(layer.errors) < 0.9 * fit.before
    assert fit.epochs == 20
    assert layer.errors[fit.chosen] == fit.after
    assert not layer.weight[~MASK].any()
    assert layer.held_out(lambda y, z: ((y - z).square().sum(-1) / z.square().sum(-1)).sum())[
        0
    ] == pytest.approx(fit.after * 60, rel=1e-5)  # what is in the layer is what was measured


def test_small_steps_add_up_in_bfloat16() -> None:
    """Each is far below the spacing of bfloat16 numbers: the weights behind them are float32."""
    layer = Layer(dtype=torch.bfloat16)
    fit = fitted(layer, Block(epochs=40, lr=0.001, patience=40))
    assert fit.after < 0.995 * fit.before


def test_weights_that_only_get_worse_stay_as_they_were() -> None:
    layer = Layer()
    start = layer.weight.clone()
    layer.apart = layer.apart * torch.tensor([1.0] + [0.0] * 7)  # other text altogether
    layer.inputs = layer.inputs * torch.tensor([0.0] + [1.0] * 7)
    layer.inputs[..., 0] = layer.inputs[..., 1]
    fit = fitted(layer, Block(epochs=9, lr=1.0, patience=2))
    assert (fit.chosen, fit.epochs) == (0, 2)
    assert fit.after == fit.before < min(layer.errors[1:])
    assert torch.equal(layer.weight, start)


def test_a_loss_that_is_no_number_stops_it_with_the_remedy() -> None:
    layer = Layer(spoilt=lambda loss: float("nan"))
    with pytest.raises(ArithmeticError, match=r"nan after 0 epochs; lower reconstruct\.lr"):
        fitted(layer, Block())


def test_every_epoch_sees_every_batch_once_in_another_order() -> None:
    layer = Layer()
    fitted(layer, Block(epochs=4, patience=4))
    epochs = [layer.seen[i : i + 4] for i in range(0, 16, 4)]
    assert [sorted(epoch) for epoch in epochs] == [[0, 1, 2, 3]] * 4
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_processes_share_out_the_sequences_and_agree() -> None:
    """Two processes with half of each batch take the steps of one, to rounding; unequal shares end
    with equal weights too."""
    method = Block(epochs=3, lr=0.02, patience=3)
    alone = Layer(size=12)
    fit = fitted(alone, method)
    for first, size in ((6, 6), (10, 6)):

        def run(ranks: Ranks, first: int = first, size: int = size) -> tuple[Layer, Fit]:
            layer = Layer(slice(0, first) if ranks.first else slice(first, 12), size)
            layer.apart = HELD_OUT[: 3 * ranks.first]
            return layer, fitted(layer, method, ranks)

        (one, its), (other, others) = in_processes(2, run)
        assert torch.equal(one.weight, other.weight)
        assert its == others
        assert one.seen == other.seen  # as many steps
        if first == 6:
            torch.testing.assert_close(one.weight, alone.weight)
            assert its.after == pytest.approx(fit.after)


@pytest.mark.parametrize(
    "wrong", [{"epochs": 0}, {"batch": 0}, {"patience": 0}, {"lr": 0}, {"lr": 1.5}], ids=str
)
def test_wrong_options_are_refused(wrong: dict[str, float]) -> None:
    (name,) = wrong
    with pytest.raises(ValueError, match=rf"^{name}="):
        Block(**wrong)  # type: ignore[arg-type]
