"""Which tensors of a forward depend on the blocks that have run."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves


class Dependence(TorchFunctionMode):
    """In this context, knows the tensors that blocks have made, and what was computed from them.

    It keeps them all: meant for the meta device, where they take no memory.

    used: a block has computed with such a tensor, other than its hidden states
    """

    def __init__(self) -> None:
        super().__init__()
        self.used = False
        self._made: dict[int, Tensor] = {}  # by id; kept, so that no id is used twice
        self._inside = False
        self._foreign: set[int] = set()  # given to the present block, beside the hidden states
        self._states: tuple[Tensor, int] | None = None  # of the last block, with its version

    def enter(self, others: Any) -> None:
        """A block begins; `others`: its arguments except the hidden states."""
        self._inside = True
        self._foreign = {id(leaf) for leaf in tree_leaves(others)} & self._made.keys()

    def leave(self, output: Any) -> None:
        """A block has returned `output`: hidden states, or a tuple that starts with them."""
        self._inside, self._foreign = False, set()
        self._add(output)
        states = output[0] if isinstance(output, tuple | list) else output
        self._states = (states, states._version)

    def returned(self, states: Any) -> bool:
        """Whether `states` are the hidden states that the last block has returned, unchanged."""
        return self._states is not None and (
            states is self._states[0] and states._version == self._states[1]
        )

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        given = {id(leaf) for leaf in tree_leaves((args, kwargs))}
        self.used |= bool(given & self._foreign)
        if self._inside or given & self._made.keys():
            self._add(output, given)
        return output

    def _add(self, output: Any, given: Collection[int] = ()) -> None:
        """`given`: what the output was computed from; `x.to(device)` may return x itself."""
        for leaf in tree_leaves(output):
            if isinstance(leaf, Tensor) and id(leaf) not in given:
                self._made[id(leaf)] = leaf
