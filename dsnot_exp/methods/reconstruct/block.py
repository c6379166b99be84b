"""Block-wise reconstruction (arXiv 2510.14444): Adam on the kept weights of one block, so that its
outputs come near the dense block's.

The block sees the outputs of the sparse blocks before it, and is to give what the dense block gives
in the dense model, so that it also makes up for errors before it. The loss of a token is
|y - y'|^2 / |y|^2, y being the dense model's output: a few tokens have outputs hundreds of times as
large as the others', and would be all that a plain mean sees.

Trained are vectors of kept weights in float32; a pruned weight has no entry, and so stays zero.
The forward is in the model's dtype, on rounded copies of them. After every epoch the loss is
measured on held-out sequences, and the best weights stay; those before the first step are among
them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dsnot_exp.methods.block_protocols import Fit, Trainable, Training
from dsnot_exp.methods.layer_error import token_errors
from dsnot_exp.methods.reconstruct.block_options import BlockOptions
from dsnot_exp.utils.distributed import Ranks

BETAS = (0.9, 0.95)


def loss(ours: Tensor, wanted: Tensor) -> Tensor:
    """Summed over tokens; ours, wanted: (sequences, tokens, hidden)."""
    return token_errors(ours, wanted).sum()


@dataclass(frozen=True)
class Block(BlockOptions):
    def state_bytes(self, weights: int, kept: int, itemsize: int) -> int:
        """Of each kept weight a float32 value, gradient and two moments, and two rounded copies;
        of each weight a gradient, and its mask."""
        return kept * (4 + 4 + 8 + 2 * itemsize) + weights * (itemsize + 1)

    def train_block(
        self,
        layers: Sequence[Trainable],
        masks: Sequence[Tensor],
        training: Training,
        generator: torch.Generator,
        ranks: Ranks,
    ) -> Fit:
        weights = KeptWeights(layers, masks)
        best, chosen = weights.rounded(), 0
        before = after = held_out_loss(training, ranks, 0)
        steps = max(ranks.gather(training.batches))
        groups = [{"params": [v], "lr": self.lr * scale(v)} for v in weights.values]
        adam = torch.optim.Adam(groups, betas=BETAS, foreach=False)  # no copies of all weights
        falling = torch.optim.lr_scheduler.LambdaLR(adam, lambda n: 1 - n / (steps * self.epochs))
        epoch = 0
        while epoch < min(self.epochs, chosen + self.patience):
            epoch += 1
            for batch in torch.randperm(steps, generator=generator).tolist():
                total, tokens = _sums(training.backward(batch, loss), ranks)
                refuse_nan(total, epoch - 1)
                weights.take_gradients(tokens, ranks)
                adam.step()
                falling.step()
                weights.write()
            error = held_out_loss(training, ranks, epoch)
            if error < after:
                best, after, chosen = weights.rounded(), error, epoch
        weights.restore(best)
        return Fit(before, after, epoch, chosen)


class KeptWeights:
    """The kept weights of a block's layers, a float32 vector for each."""

    def __init__(self, layers: Sequence[Trainable], masks: Sequence[Tensor]) -> None:
        self.layers, self.masks = layers, masks
        self.values = [kept.float().requires_grad_() for kept in self.rounded()]

    def rounded(self) -> list[Tensor]:
        """Copies of those in the block, in its dtype."""
        pairs = zip(self.layers, self.masks, strict=True)
        return [layer.weight[mask] for layer, mask in pairs]

    def take_gradients(self, tokens: int, ranks: Ranks) -> None:
        """Of the mean loss over `tokens` tokens of all processes, from those of the sums."""
        for layer, mask, value in zip(self.layers, self.masks, self.values, strict=True):
            found = layer.gradient
            gradient = torch.zeros_like(value) if found is None else found[mask].float()
            value.grad = ranks.sum(gradient).div_(tokens)

    def write(self) -> None:
        """Into the block."""
        self.restore([value.detach() for value in self.values])

    def restore(self, values: Sequence[Tensor]) -> None:
        for layer, mask, value in zip(self.layers, self.masks, values, strict=True):
            layer.weight[mask] = value.to(layer.weight.dtype)


def scale(kept: Tensor) -> float:
    """The root mean square of `kept: (kept weights,)`."""
    return float(kept.detach().square().mean().sqrt()) if len(kept) else 0.0


def held_out_loss(training: Training, ranks: Ranks, epochs: int) -> float:
    """The mean over the held-out tokens of all processes, after so many epochs."""
    total, tokens = _sums(training.held_out(loss), ranks)
    refuse_nan(total, epochs)
    return total / max(1, tokens)


def refuse_nan(loss: float, epochs: int) -> None:
    if not math.isfinite(loss):
        raise ArithmeticError(
            f"the loss is {loss} after {epochs} epochs; lower reconstruct.lr, or use "
            "model.dtype=float32"
        )


def _sums(own: tuple[float, int], ranks: Ranks) -> tuple[float, int]:
    """Over all processes, added in rank order."""
    gathered = ranks.gather(own)
    return sum(total for total, _ in gathered), sum(tokens for _, tokens in gathered)
