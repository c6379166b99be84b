"""Collects the statistics of the inputs of a block's linears while its forward runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext

import torch
from torch import Tensor, nn

from dsnot_exp.methods.protocols import Needs
from dsnot_exp.methods.statistics import Accumulator, InputStatistics
from dsnot_exp.models.kept_dense import NOT_CALLED, refuse_layers
from dsnot_exp.models.linears import Linear, is_routed
from dsnot_exp.utils.distributed import Ranks
from dsnot_exp.utils.errors import RunError
from dsnot_exp.walk.experts import ExpertProducts
from dsnot_exp.walk.follow import Follower
from dsnot_exp.walk.shared_inputs import SharedInputs

SHARE, LEAST = 64, 128  # the sample is one token in 64, and at least 128 tokens

# In which order a full forward calls the linears of a block, by the names of all its linears.
Orders = dict[tuple[str, ...], list[str]]


def sampled_tokens(length: int, sequences: int) -> int:
    """How many tokens of each of so many sequences go into the sample."""
    return min(length, max(-(-length // SHARE), -(-LEAST // sequences)))


class Collected(Exception):
    """The last linear of the block has received its input; the rest of the forward is not
    needed."""


class Collector:
    """Collects statistics of the inputs of a block's linears; linears with the same input share
    one.

    Forward hooks see the inputs of modules, ExpertProducts those of experts. Once a full forward
    has shown the order in which a block calls its linears, later forwards stop at the input of the
    last one. Blocks with routed experts always run to their end, because the order depends on the
    tokens.

    total: sequences of the whole calibration, over all processes. They determine how many tokens
        of each go into the sample, whatever the batch size
    orders: the orders that earlier blocks have shown; this block adds its own
    follower: pairs the inputs with those of the dense model
    """

    def __init__(
        self,
        block: str,
        linears: dict[str, Linear],
        needs: Needs,
        total: int,
        orders: Orders,
        follower: Follower | None = None,
    ) -> None:
        self.block, self.linears, self.needs, self.total = block, linears, needs, total
        self.orders, self.make, self.follower = orders, tuple(linears), follower
        self.called: list[str] = []
        self.accumulators: dict[str, Accumulator] = {}
        self.shared = SharedInputs()
        self.sequences = self.all_sequences = self.length = 0
        self.counts = False  # a forward outside `forward` is the dense model's

    def __enter__(self) -> Collector:
        self.open = ExitStack()
        experts: dict[str, Linear] = {}
        for name, linear in self.linears.items():
            if linear.expert is None:
                handle = linear.module.register_forward_pre_hook(self._hook(name), with_kwargs=True)
                self.open.callback(handle.remove)
            else:
                experts[name] = linear
        if experts:
            self.open.enter_context(ExpertProducts(experts, self._count_routed))
        return self

    def __exit__(self, *_: object) -> None:
        self.open.close()
        self.shared.clear()

    @contextmanager
    def forward(self, sequences: int, length: int) -> Iterator[None]:
        """Wraps one forward of `sequences` sequences of `length` tokens; it may stop early."""
        self.sequences, self.length = sequences, length
        self.all_sequences += sequences
        self.shared.clear()
        self.called.clear()
        self.counts = True
        try:
            yield
        except Collected:
            self.shared.refuse_partly_shared(self.block)
            return
        finally:
            self.counts = False
        self.shared.refuse_partly_shared(self.block)
        if set(self.called) == set(self.make) and not any(map(is_routed, self.make)):
            self.orders.setdefault(self.make, list(self.called))

    def paired(self, hidden: Tensor) -> AbstractContextManager[None]:
        """Wraps the same forward, on `hidden: (sequences, tokens, hidden)`, where a dense stream
        has passed before."""
        return nullcontext() if self.follower is None else self.follower.sparse(hidden)

    def _hook(self, name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Tensor]) -> None:
            if not self.counts:
                return
            inputs = args[0] if args else next(iter(kwargs.values()))
            if is_routed(name):
                self._count_routed(name, inputs)
            else:
                self._count(name, inputs)
            self.called.append(name)
            if self.called == self.orders.get(self.make):
                raise Collected

        return hook

    def _count(self, name: str, inputs: Tensor) -> None:
        leads = self.shared.leads(name, inputs)
        if leads:
            self._update(name, *self._by_sequence(inputs))
        if self.follower is not None:
            self.follower.count(name, leads, inputs, lambda x: self._by_sequence(x)[0])

    def _by_sequence(self, inputs: Tensor) -> tuple[Tensor, int]:
        """`inputs` as (sequences, tokens, in), and how many tokens of each go into the sample."""
        rows, wide = inputs.shape[:-1].numel(), inputs.shape[-1]
        if inputs.shape[:-1] == (self.length, self.sequences) != (self.sequences, self.length):
            inputs = inputs.transpose(0, 1)
        if rows % self.sequences:  # no multiple of the sequences: a table of positions, say
            return inputs.reshape(1, rows, wide), -(-rows * self._sampled() // self.length)
        # OPT passes (sequences * tokens, hidden) to its fc layers.
        return inputs.reshape(self.sequences, -1, wide), self._sampled()

    def _count_routed(self, name: str, inputs: Tensor) -> None:
        """The tokens (tokens, in) of one forward that were routed to an expert. They come from any
        sequence, so the variance within sequences treats them as one sequence."""
        if not self.counts:
            return
        self.shared.leader[name] = name
        if inputs.numel():
            routed = inputs.reshape(1, -1, inputs.shape[-1])
            self._update(name, routed, -(-routed.shape[1] * self._sampled() // self.length))

    def _sampled(self) -> int:
        return sampled_tokens(self.length, self.total)

    def _update(self, name: str, inputs: Tensor, sampled: int) -> None:
        if name not in self.accumulators:
            self.accumulators[name] = Accumulator(inputs.shape[-1], self.needs, inputs.device)
        self.accumulators[name].update(inputs, sampled)

    def _together(self, ranks: Ranks) -> None:
        """Add up the statistics of all processes. An expert may have seen tokens in only some."""
        self.all_sequences = sum(ranks.gather(self.all_sequences))
        for leader in ranks.gather(self.shared.leader):
            self.shared.leader = leader | self.shared.leader
        for name in sorted(set().union(*ranks.gather(set(self.accumulators)))):
            weight = self.linears[name].weight
            none = Accumulator(weight.shape[1], self.needs, weight.device)
            own = self.accumulators.get(name, none)
            self.accumulators[name] = own.gathered(ranks, weight.dtype)

    def finish(self, ranks: Ranks) -> dict[str, InputStatistics]:
        """The statistics by linear; an expert that saw no token has none."""
        if ranks.size > 1:
            self._together(ranks)
        leaders = {}
        while self.accumulators:
            name = next(iter(self.accumulators))
            accumulator = self.accumulators.pop(name)  # frees its sums once the result exists
            accumulator.sequences = self.all_sequences
            leaders[name] = accumulator.finish()
            total = leaders[name].mean.sum() + leaders[name].norm.sum()
            if not bool(torch.isfinite(total)):
                raise RunError(
                    f"{self.block}.{name}: its calibration inputs hold NaN or infinity; "
                    "try model.dtype=float32"
                )
        missing = [n for n in self.linears if n not in self.shared.leader and not is_routed(n)]
        refuse_layers({(self.block, n): NOT_CALLED for n in missing}, error=RunError)
        found = {
            n: leaders[leader] for n, leader in self.shared.leader.items() if leader in leaders
        }
        return found if self.follower is None else self.follower.finish(ranks, found)
