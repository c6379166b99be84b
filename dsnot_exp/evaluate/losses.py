"""The losses of sequences, without ever holding the logits of a whole batch.

With a vocabulary of 256,000, the logits of 4096 tokens are larger than many a model. So the body of
the model (embeddings, blocks, final norm) runs once for a batch. Then its head, and what the model
does to the logits (a scale, a cap), run in the model's own forward on a few positions at a time.
The last position of a sequence predicts nothing and has no logits.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from dsnot_exp.utils.accelerator import is_accelerator
from dsnot_exp.walk.calls import replaced_forwards

LOGITS, LOGITS_GPU = 1 << 23, 1 << 27  # at a time: few for a cache, many for a GPU


class _Reached(Exception):
    """The head has received its input."""


class Losses:
    """Mean loss of each sequence over its S - 1 predictions, in float32 for any model dtype."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.whole = False  # no module's output is the head's input: run the model as a whole

    def __call__(self, ids: Tensor) -> Tensor:
        """(sequences,), float64; ids: (sequences, S)"""
        by_sequence = zip(self._logits(ids), ids, strict=True)
        return torch.stack([mean_loss(parts, own) for parts, own in by_sequence])

    def _logits(self, ids: Tensor) -> Iterator[Iterator[Tensor]]:
        """By sequence, the logits (positions, vocabulary) of a few positions at a time."""
        length = ids.shape[1] - 1
        found = None if self.whole else run_body(self.model, ids)
        if found is None:
            self.whole = True
            for logits in self.model(input_ids=ids, use_cache=False).logits:
                yield iter(logits[:length].split(_at_once(logits, logits.shape[-1])))
            return
        body, output = found
        states = _states(output)
        assert states is not None
        for i in range(len(ids)):
            yield self._parts(body, output, states[i : i + 1, :length], ids[i : i + 1])

    def _parts(self, body: nn.Module, output: Any, states: Tensor, ids: Tensor) -> Iterator[Tensor]:
        """states: (1, positions, hidden); ids: (1, S)"""
        vocabulary = self.model.config.get_text_config().vocab_size
        for part in states.split(_at_once(states, vocabulary), dim=1):
            # A part of a larger batch has that batch's strides, with which a CPU's half-precision
            # products are up to 20 times as slow. contiguous() would leave them.
            given = _with_states(output, part.clone(memory_format=torch.contiguous_format))
            with replaced_forwards([body], lambda *_, _given=given: lambda *_, **__: _given):
                as_many = ids[:, : part.shape[1]]
                yield self.model(input_ids=as_many, use_cache=False).logits[0]


def run_body(model: Any, ids: Tensor) -> tuple[nn.Module, Any] | None:
    """The outermost module whose output is the very tensor that the head receives, and what it
    returns for `ids: (sequences, S)`; None if there is none. The head does not run."""
    head = getattr(model, "get_output_embeddings", lambda: None)()
    if head is None:
        return None
    returned: list[tuple[nn.Module, Any]] = []

    def keep(module: nn.Module, args: Any, output: Any) -> None:
        returned.append((module, output))

    def stop(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        raise _Reached(args[0] if args else None)

    bodies = [*model.children()]
    bodies += [inner for body in bodies for inner in body.children()]  # OPT calls model.decoder
    handles = [module.register_forward_hook(keep) for module in bodies]
    handles.append(head.register_forward_pre_hook(stop))
    try:
        model(input_ids=ids, use_cache=False)
    except _Reached as reached:
        (given,) = reached.args
        fits = [(module, output) for module, output in returned if _same(_states(output), given)]
        return fits[-1] if fits else None
    finally:
        for handle in handles:
            handle.remove()
    return None


def _same(a: Tensor | None, b: Tensor | None) -> bool:
    return a is not None and b is not None and a.data_ptr() == b.data_ptr() and a.shape == b.shape


def _at_once(on: Tensor, vocabulary: int) -> int:
    """Positions at a time, on the device of `on`."""
    return max(1, (LOGITS_GPU if is_accelerator(on) else LOGITS) // vocabulary)


def mean_loss(parts: Iterator[Tensor], ids: Tensor) -> Tensor:
    """parts: logits of the positions of one sequence; ids: (S,)"""
    sums, done = [], 1
    for logits in parts:
        wanted = ids[done : done + len(logits)].to(logits.device)
        sums.append(cross_entropy(logits.float(), wanted, reduction="sum").double())
        done += len(logits)
    return torch.stack(sums).sum() / (len(ids) - 1)


def _states(output: Any) -> Tensor | None:
    """The hidden states (sequences, tokens, hidden) in what a module returns."""
    found = getattr(output, "last_hidden_state", None)
    if found is None:
        found = output[0] if isinstance(output, tuple | list) and output else output
    return found if isinstance(found, Tensor) and found.dim() == 3 else None


def _with_states(output: Any, states: Tensor) -> Any:
    if isinstance(output, Tensor):
        return states
    if isinstance(output, tuple | list):
        return type(output)([states, *output[1:]])
    changed = copy.copy(output)
    changed.last_hidden_state = states
    return changed
