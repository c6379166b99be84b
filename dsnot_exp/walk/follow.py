"""The dense stream beside the sparse one, in one block.

The block's forward on the dense model's hidden states comes first, while its weights are still
dense. It shows the inputs of the linears in the dense model, and the residual stream that their
outputs are added to. The forward on the sparse model's hidden states follows, and pairs them token
by token.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn

from dsnot_exp.methods.gram import add_cross
from dsnot_exp.methods.protocols import Needs
from dsnot_exp.methods.statistics import InputStatistics, Statistic
from dsnot_exp.models.linears import Linear, is_routed
from dsnot_exp.utils.distributed import Ranks
from dsnot_exp.walk.calls import Call
from dsnot_exp.walk.hidden_states import States
from dsnot_exp.walk.residual import ResidualStream, Writers


class Follower:
    """Pairs the inputs of a block's linears, and the residual stream, with the dense model's.

    D, the drift, belongs to an input, so it is counted for the first linear that receives it; R,
    the residual drift, to each linear that writes into the residual stream. Experts have neither:
    the tokens that reach one differ between the streams.

    before, after: the dense stream that enters the block, and that leaves it; both are kept, so
        that a block can begin anew when the device runs out of memory
    unpaired: linears some of whose inputs have no counterpart in the dense model's forward
    """

    def __init__(self, linears: Mapping[str, Linear], needs: Needs, before: States) -> None:
        self.needs, self.before, self.after = needs, before, before.beside()
        self.linears = {n: linear for n, linear in linears.items() if linear.expert is None}
        self.linears = {n: linear for n, linear in self.linears.items() if not is_routed(n)}
        self.writers = Writers(self.linears)
        self.unpaired: set[str] = set()
        self._drift: dict[str, Tensor] = {}  # sums over tokens
        self._residual_drift: dict[str, Tensor] = {}
        self._inputs: dict[str, list[tuple[Tensor, int]]] = {}  # with their versions
        self._residual: dict[str, Tensor] = {}
        self._calls: dict[str, int] = {}

    def advance(self, batch: int, call: Call, block: nn.Module) -> None:
        """The dense stream's micro-batch passes through the block."""
        hidden = self.before[batch]
        with self.dense(hidden):
            self.after.append(call.replay(block, hidden))

    @contextmanager
    def dense(self, hidden: Tensor) -> Iterator[None]:
        """Wraps the forward on the dense model's `hidden: (sequences, tokens, hidden)`."""
        self._inputs, self._residual, self._calls = {}, {}, {}
        with ExitStack() as watching:
            for name, linear in self.linears.items() if Statistic.DRIFT in self.needs else ():
                watching.callback(self._record(name, linear.module))
            if Statistic.RESIDUAL_DRIFT in self.needs:
                watching.enter_context(self.writers.watch(hidden))
            yield
        if Statistic.RESIDUAL_DRIFT in self.needs:
            self._residual = self.writers.streams()

    @contextmanager
    def sparse(self, hidden: Tensor) -> Iterator[None]:
        """Wraps the forward on the sparse model's `hidden`, which may end early."""
        self._stream = ResidualStream(hidden)
        with ExitStack() as watching:
            if self._residual:
                watching.enter_context(self._stream)
            yield
        self._inputs, self._residual = {}, {}

    def count(
        self, name: str, leads: bool, inputs: Tensor, arranged: Callable[[Tensor], Tensor]
    ) -> None:
        """Count one input of linear `name`. leads: it is not shared with an earlier linear;
        arranged: brings (*tokens, n) to (sequences, tokens, n)"""
        ours = arranged(inputs)
        if leads and Statistic.DRIFT in self.needs:
            dense = self._dense_inputs(name, inputs)
            if dense is None:
                self.unpaired.add(name)
            else:
                _add(self._drift, name, arranged(dense) - ours, ours)
        drift = self._drift_of_residual(name, inputs)
        if drift is not None:
            _add(self._residual_drift, name, arranged(drift), ours)

    def finish(
        self, ranks: Ranks, statistics: Mapping[str, InputStatistics]
    ) -> dict[str, InputStatistics]:
        """`statistics` with D and R, over the tokens of all processes."""
        unpaired = set().union(*ranks.gather(self.unpaired))
        tokens = {name: found.tokens for name, found in statistics.items()}
        drift, residual = (
            {name: ranks.sum(sums).div_(tokens[name]) for name, sums in sorted(counted.items())}
            for counted in (self._drift, self._residual_drift)
        )
        first: dict[int, str] = {}  # by statistics object, the linear that it was counted for
        for name, found in statistics.items():
            first.setdefault(id(found), name)
        return {
            name: replace(
                found,
                drift=None if first[id(found)] in unpaired else drift.get(first[id(found)]),
                residual_drift=residual.get(name),
            )
            for name, found in statistics.items()
        }

    def _dense_inputs(self, name: str, inputs: Tensor) -> Tensor | None:
        """The dense model's inputs for this call of linear `name`, of the shape of `inputs`; None
        if they are not known any more."""
        call = self._calls.get(name, 0)
        self._calls[name] = call + 1
        if call >= len(self._inputs.get(name, [])):
            return None
        dense, version = self._inputs[name][call]
        return dense if dense.shape == inputs.shape and dense._version == version else None

    def _drift_of_residual(self, name: str, inputs: Tensor) -> Tensor | None:
        """h_dense - h, (*tokens, out), where linear `name` receives `inputs: (*tokens, in)`; None
        if its output is not added to h."""
        stream, tip = self._residual.get(name), self._stream.tip
        if stream is None or stream.numel() != tip.numel():
            return None
        if stream.numel() // stream.shape[-1] != inputs.shape[:-1].numel():
            return None
        drift = stream - tip.view(stream.shape)
        return drift.reshape(*inputs.shape[:-1], stream.shape[-1])

    def _record(self, name: str, module: nn.Module) -> Callable[[], None]:
        def record(module: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Tensor]) -> None:
            inputs = args[0] if args else next(iter(kwargs.values()))
            self._inputs.setdefault(name, []).append((inputs, inputs._version))

        return module.register_forward_pre_hook(record, with_kwargs=True).remove


def _add(sums: dict[str, Tensor], name: str, left: Tensor, right: Tensor) -> None:
    """sums[name] += L^T A, (out, in); left: (sequences, tokens, out), right: (sequences, tokens,
    in)"""
    if name not in sums:
        shape = left.shape[-1], right.shape[-1]
        sums[name] = torch.zeros(shape, dtype=torch.float32, device=right.device)
    add_cross(sums[name], left, right)
