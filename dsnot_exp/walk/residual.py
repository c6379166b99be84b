"""Follows the residual stream through a block's forward, and finds the linears that write into it.

A block adds the outputs of some linears to its hidden states: h + o_proj(...), then h +
down_proj(...). What the model's code calls these sums does not matter: every addition to the hidden
states is seen, and the other operand is compared with the outputs of the linears. An output that
passes through a norm, a factor or another sum first is not told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, ExitStack
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from dsnot_exp.models.linears import Linear

ADDITIONS = ("add", "add_", "__add__", "__radd__", "__iadd__")
NEVER = -1  # no tensor has this version


class ResidualStream(TorchFunctionMode):
    """tip: the hidden states after the additions so far, which begin with the block's input

    on_add: called with the tip and what is about to be added to it
    """

    def __init__(
        self, hidden: Tensor, on_add: Callable[[Tensor, Tensor], None] = lambda tip, added: None
    ) -> None:
        super().__init__()
        self.tip, self.on_add = hidden, on_add

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        added = self._added(args) if self._adds(function, args, kwargs) else None
        if added is not None:
            self.on_add(self.tip, added)
        output = function(*args, **(kwargs or {}))
        if added is not None:
            self.tip = output
        return output

    def _adds(self, function: Any, args: tuple[Any, ...], kwargs: Any) -> bool:
        named = getattr(function, "__name__", "") in ADDITIONS
        return named and not kwargs and len(args) == 2 and all(isinstance(a, Tensor) for a in args)

    def _added(self, args: tuple[Tensor, Tensor]) -> Tensor | None:
        """What is added to the tip; None if this is another sum."""
        first, second = args
        if not first.numel() == second.numel() == self.tip.numel():
            return None
        if same_memory(first, self.tip):
            return second
        return first if same_memory(second, self.tip) else None


def same_memory(a: Tensor, b: Tensor) -> bool:
    """Whether one is a reshaped view of the whole other; both are alive."""
    return a.data_ptr() == b.data_ptr() and a.numel() == b.numel() and a.dtype == b.dtype


class Writers:
    """During one forward, notes for every linear the residual stream when its input arrives, and
    whether its output is added to just that.

    linears: module linears by name; experts see only some tokens, and are left out
    """

    def __init__(self, linears: Mapping[str, Linear]) -> None:
        self.linears = linears
        self._before: dict[str, tuple[Tensor, int]] = {}  # the stream, its version
        self._outputs: dict[str, tuple[Tensor, int]] = {}
        self._told: set[str] = set()

    def watch(self, hidden: Tensor) -> AbstractContextManager[Any]:
        """The context of a forward on `hidden: (sequences, tokens, hidden)`."""
        self._before, self._outputs, self._told = {}, {}, set()
        self._stream = ResidualStream(hidden, self._on_add)
        open_ = ExitStack()
        for name, linear in self.linears.items():
            for handle in self._hooks(name, linear):
                open_.callback(handle.remove)
        open_.enter_context(self._stream)
        return open_

    def streams(self) -> dict[str, Tensor]:
        """After the forward: for each linear that writes into the residual stream, the stream that
        its output is added to."""
        self._outputs = {}
        return {
            name: stream
            for name, (stream, version) in self._before.items()
            if name in self._told and stream._version == version
        }

    def _hooks(self, name: str, linear: Linear) -> Iterable[RemovableHandle]:
        def before(module: Any, args: Any) -> None:
            tip = self._stream.tip
            again = name in self._before  # neither call alone is the linear's
            self._before[name] = tip, NEVER if again else tip._version

        def after(module: Any, args: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                self._outputs[name] = output, output._version

        yield linear.module.register_forward_pre_hook(before)
        yield linear.module.register_forward_hook(after)

    def _on_add(self, tip: Tensor, added: Tensor) -> None:
        for name, (output, version) in self._outputs.items():
            unchanged = same_memory(output, added) and added._version == version
            if unchanged and self._before[name][0] is tip:
                self._told.add(name)
