"""The arguments of a block's forward, so that the block can be replayed without its model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

Forward = Callable[..., Any]


@dataclass(frozen=True)
class Call:
    """The arguments of one block's forward on one batch, but for the hidden states.

    by_name: the model passes the hidden states as a keyword argument
    others: how many values the block returns besides them; -1 if it returns a tensor
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    by_name: bool
    others: int

    def run(self, forward: Forward, hidden: Tensor) -> Any:
        """What `forward`, the block's or the block itself, returns for
        `hidden: (sequences, tokens, hidden)`."""
        if self.by_name:
            return forward(*self.args, hidden_states=hidden, **self.kwargs)
        return forward(hidden, *self.args, **self.kwargs)

    def replay(self, block: nn.Module, hidden: Tensor) -> Tensor:
        """The block's output hidden states, of the same shape as `hidden`."""
        output = self.run(block, hidden)
        states: Tensor = output[0] if isinstance(output, tuple | list) else output
        return states

    def as_returned(self, hidden: Tensor) -> Any:
        """`hidden` in the form in which the block returns its output."""
        return hidden if self.others < 0 else (hidden, *[None] * self.others)


@contextmanager
def replaced_forwards(
    blocks: Sequence[nn.Module] | nn.ModuleList,
    stand_in: Callable[[int, nn.Module, Forward], Forward],
) -> Iterator[None]:
    """In this context every block's forward is `stand_in(index, block, its real forward)`."""
    own = [block.__dict__.get("forward") for block in blocks]  # set by accelerate's hooks, say
    try:
        for index, block in enumerate(blocks):
            block.forward = stand_in(index, block, block.forward)
        yield
    finally:
        for block, forward in zip(blocks, own, strict=True):
            del block.forward
            if forward is not None:
                block.forward = forward
