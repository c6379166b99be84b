"""Captures the arguments that a model's own forward passes to each of its blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from dsnot_exp.models.blocks import NOT_ENTERED, NOT_ONCE, NOT_SEQUENCES
from dsnot_exp.utils.errors import RequestError
from dsnot_exp.walk.calls import Call, Forward, replaced_forwards


class _Captured(Exception):
    """The last block has been reached: the rest of the forward (norm, head) is not needed."""


@dataclass
class _Recorder:
    """Replaces every block's forward: records the arguments and passes the input on.

    The replacement returns a tensor or a tuple, as the block's class does. If `others` does not
    know the class yet, the first block of the class runs once to find out.
    """

    calls: list[list[Call]]
    keep: Callable[[Tensor], None]
    fetch: Callable[[nn.Module], AbstractContextManager[nn.Module]]
    others: dict[type, int] = field(default_factory=dict)  # by class of block, as in Call
    shared: list[Tensor] = field(default_factory=list)
    ids: Tensor = field(default_factory=lambda: torch.empty(0, 0))  # of the present batch

    def forward(self, index: int, block: nn.Module, real: Forward) -> Forward:
        def record(*args: Any, **kwargs: Any) -> Any:
            by_name = not args
            states = kwargs.pop("hidden_states") if by_name else args[0]
            if index == 0:
                if states.shape[:2] != self.ids.shape:
                    raise RequestError(f"{type(block).__name__}: {NOT_SEQUENCES}")
                self.keep(states)
            last = index == len(self.calls) - 1
            if not last and type(block) not in self.others:
                named = {"hidden_states": states} if by_name else {}
                with self.fetch(block):
                    output = real(*args, **named, **kwargs)
                several = isinstance(output, tuple | list)
                self.others[type(block)] = len(output) - 1 if several else -1
            call = Call(
                tuple(self._intern(a) for a in args[1:]),
                {name: self._intern(value) for name, value in kwargs.items()},
                by_name,
                self.others.get(type(block), -1),
            )
            self.calls[index].append(call)
            if last:
                raise _Captured
            return call.as_returned(states)

        return record

    def _intern(self, value: Any) -> Any:
        """Equal masks of batches and blocks are kept once."""
        if isinstance(value, Tensor):
            for kept in self.shared:
                if kept is value:
                    return kept
            for kept in self.shared:
                if (
                    kept.shape == value.shape
                    and kept.dtype == value.dtype
                    and torch.equal(kept, value)
                ):
                    return kept
            self.shared.append(value)
        elif type(value) in (tuple, list):
            return type(value)(self._intern(v) for v in value)
        return value


@torch.no_grad()
def capture(
    model: nn.Module,
    blocks: nn.ModuleList,
    batches: list[Tensor],
    keep: Callable[[Tensor], None],
    fetch: Callable[[nn.Module], AbstractContextManager[nn.Module]],
    others: dict[type, int],
) -> list[list[Call]]:
    """`calls[block][batch]`; `keep` receives the inputs of the first block, batch by batch.

    batches: input ids, (sequences, tokens) each
    others: by class of block, as in Call. Empty on the first call, which fills it by running one
        block of each class; no block runs when it is full.
    """
    if not others:  # two tokens are enough to learn what each class of blocks returns
        few = [ids[:1, :2] for ids in batches[:1]]
        learner = _Recorder([[] for _ in blocks], lambda states: None, fetch, others)
        _pass_through(model, blocks, few, learner)
    recorder = _Recorder([[] for _ in blocks], keep, fetch, others)
    _pass_through(model, blocks, batches, recorder)
    counts = {len(calls) for calls in recorder.calls}
    if counts != {len(batches)}:
        raise RequestError(f"{type(model).__name__}: {NOT_ONCE}")
    return recorder.calls


def _pass_through(
    model: nn.Module, blocks: nn.ModuleList, batches: list[Tensor], recorder: _Recorder
) -> None:
    with replaced_forwards(blocks, recorder.forward), _without_cache(model):
        for ids in batches:
            recorder.ids = ids
            try:
                model(input_ids=ids, use_cache=False)
            except _Captured:
                continue
            raise RequestError(f"{type(model).__name__}: {NOT_ENTERED}")


@contextmanager
def _without_cache(model: nn.Module) -> Iterator[None]:
    config: Any = model.config
    before = getattr(config, "use_cache", None)
    try:
        if before is not None:
            config.use_cache = False
        yield
    finally:
        if before is not None:
            config.use_cache = before
