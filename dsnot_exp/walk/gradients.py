"""How much the loss depends on each output of every linear: one backward pass, block by block.

Forward through the dense model, with the inputs of each block kept. Then from the last block to the
first: forward once more with a graph, and backward from the gradient of the block's outputs. So no
more than one block's activations of one sequence are in memory, and no weight gets a gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from dsnot_exp.models.linears import owned
from dsnot_exp.models.loading import hidden_size
from dsnot_exp.models.placement import Placed
from dsnot_exp.utils.distributed import ALONE, Ranks
from dsnot_exp.utils.errors import RunError
from dsnot_exp.walk.hidden_states import AUTO, States, Storage
from dsnot_exp.walk.last_block import from_last_block
from dsnot_exp.walk.loop import walk
from dsnot_exp.walk.sequences import Sequences, begin
from dsnot_exp.walk.squares import Squares
from dsnot_exp.walk.view import BlockView

REMEDY = "lower calib.seqlen, use device=cpu, or choose an allocator without gradients"


def squared_gradients(
    placed: Placed,
    ids: Tensor,
    *,
    storage: Storage = AUTO,
    on_block: Callable[[], None] = lambda: None,
    ranks: Ranks = ALONE,
) -> dict[str, Tensor]:
    """By layer, the mean over tokens of the squared gradient of the summed loss at each output:
    (out,) float32. A layer whose outputs the loss does not depend on, or whose gradient cannot be
    seen, is absent. Of a layer with routed tokens, those count.

    ids: (sequences, tokens); every process takes its share
    """
    trainable = [p for p in placed.model.parameters() if p.requires_grad]
    sums: dict[str, Tensor] = {}
    tokens: dict[str, int] = {}
    try:
        placed.model.requires_grad_(False)
        with begin(placed, ids, 1, storage, ranks, REMEDY) as sequences:
            if sequences.count:  # there may be fewer sequences than processes
                for name, squares in _by_block(sequences, placed, storage, on_block):
                    sums |= {f"{name}.{own}": total for own, total in squares.sums.items()}
                    tokens |= {f"{name}.{own}": count for own, count in squares.tokens.items()}
    finally:
        for parameter in trainable:
            parameter.requires_grad_(True)
    return _means(sums, tokens, ranks)


def _by_block(
    sequences: Sequences, placed: Placed, storage: Storage, on_block: Callable[[], None]
) -> Iterator[tuple[str, Squares]]:
    """The squares of each block, from the last to the first."""
    last, own = len(sequences.blocks) - 1, owned(sequences.blocks, placed.dense)
    entries = sum(batch.numel() for batch in sequences.batches) * hidden_size(placed.model.config)
    size = len(own) * entries * placed.model.dtype.itemsize
    with closing(storage.states(size, placed.device)) as inputs:
        _forward(sequences, placed, inputs)
        after: list[Tensor] = []  # the gradient of the block's outputs, by sequence
        for index in range(last, -1, -1):
            name, squares = f"{sequences.name}.{index}", Squares(own[index])
            with sequences.fetch(sequences.blocks[index]) as module, squares.listening():
                module.requires_grad_(False)  # a block read from disk is new
                before = []
                for i in range(len(sequences.batches)):
                    states = inputs[index * len(sequences.batches) + i]
                    given = after[i] if after else None
                    run = partial(_backward, sequences, index, i, module, states, given)
                    before.append(_finite(sequences.fitting(run), name))
                after = before
            on_block()
            yield name, squares


@torch.no_grad()
def _forward(sequences: Sequences, placed: Placed, inputs: States) -> None:
    """Keep the inputs of every block, sequence by sequence."""

    def keep(view: BlockView) -> None:
        for states in view.inputs():
            inputs.append(states.clone())

    walk(sequences, keep, placed.dense)


def _backward(
    sequences: Sequences,
    index: int,
    batch: int,
    module: nn.Module,
    states: Tensor,
    given: Tensor | None,
) -> Tensor | None:
    """The gradient of the loss at a block's inputs `states: (1, tokens, hidden)`. `given`: that at
    its outputs; None for the last block, after which the loss is computed."""
    leaf = states.detach().requires_grad_(True)
    with torch.enable_grad():
        hidden = leaf.clone()  # the block may change its input in place
        if given is None:
            _loss(sequences, batch, hidden).backward()
        else:
            sequences.calls(index)[batch].replay(module, hidden).backward(given)
    return leaf.grad


def _finite(gradient: Tensor | None, block: str) -> Tensor:
    if gradient is None or not bool(torch.isfinite(gradient).all()):
        raise RunError(
            f"{block}: the gradient of the loss is missing, NaN or infinite; try "
            "model.dtype=float32, or choose an allocator that needs no gradient, such as owl"
        )
    return gradient


def _loss(sequences: Sequences, batch: int, hidden: Tensor) -> Tensor:
    """The summed loss of one sequence, whose hidden states have reached the last block."""
    ids = sequences.batches[batch]
    with from_last_block(sequences, batch, hidden):
        logits = sequences.model(input_ids=ids, use_cache=False).logits
    return cross_entropy(
        logits[:, :-1].flatten(0, 1).float(), ids[:, 1:].flatten(), reduction="sum"
    )


def _means(
    sums: Mapping[str, Tensor], tokens: Mapping[str, int], ranks: Ranks
) -> dict[str, Tensor]:
    """Over the tokens of all processes; an expert may have seen tokens in only some."""
    everyones = ranks.gather({name: (tokens[name], total.cpu()) for name, total in sums.items()})
    found: dict[str, Tensor] = {}
    for name in dict.fromkeys(name for own in everyones for name in own):
        parts = [own[name] for own in everyones if name in own]
        total = torch.stack([part for _, part in parts]).sum(0)
        found[name] = (total / sum(count for count, _ in parts)).float()
    return found
