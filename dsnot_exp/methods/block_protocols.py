"""What a method that trains a whole block receives and returns. The other kinds of method see one
layer at a time: protocols.py."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeGuard

import torch
from torch import Tensor

from dsnot_exp.utils.distributed import Ranks

# A block's outputs and the wanted ones, (sequences, tokens, hidden) each -> sum over tokens.
Loss = Callable[[Tensor, Tensor], Tensor]


class Trainable(Protocol):
    """A weight in its block: (out, in) views of the parameter and of its gradient."""

    @property
    def weight(self) -> Tensor: ...
    @property
    def gradient(self) -> Tensor | None: ...


class Training(Protocol):
    """A block with its present weights, on this process's calibration sequences. Its outputs are
    wanted to be those of the dense model's block.

    batches: the number of batches of sequences; the last may be smaller
    """

    @property
    def batches(self) -> int: ...

    def backward(self, batch: int, loss: Loss) -> tuple[float, int]:
        """`loss` summed over the tokens of a batch, and their number. The gradients of the weights
        are then those of this sum. No tokens for a batch that this process does not have."""

    def held_out(self, loss: Loss) -> tuple[float, int]:
        """`loss` summed over the tokens of the held-out sequences, and their number."""


@dataclass(frozen=True)
class Fit:
    """before, after: the mean loss over held-out tokens with the first and with the final weights
    epochs: run; chosen: after which of them the weights were best; 0: they stay as they were
    """

    before: float
    after: float
    epochs: int
    chosen: int


class BlockReconstructor(Protocol):
    """Trains the kept weights of a block, in place, under fixed masks: (out, in) bool each.

    batch: sequences per step, over all processes
    Raises ArithmeticError where the loss is no number.
    """

    @property
    def batch(self) -> int: ...

    def state_bytes(self, weights: int, kept: int, itemsize: int) -> int:
        """The memory it takes besides activations, for a block of `weights` weights of `itemsize`
        bytes, of which `kept` are kept."""

    def train_block(
        self,
        layers: Sequence[Trainable],
        masks: Sequence[Tensor],
        training: Training,
        generator: torch.Generator,
        ranks: Ranks,
    ) -> Fit: ...


def trains_blocks(method: Any) -> TypeGuard[BlockReconstructor]:
    """Whether a reconstructor trains whole blocks; others update one layer at a time."""
    return hasattr(method, "train_block")
