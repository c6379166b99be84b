"""What one block of a model costs on a device: measured on a block of its shape, with random
weights, in about a second.

On a CPU a whole micro-batch would take too long, so fewer tokens are timed there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from dsnot_exp.methods.protocols import Needs
from dsnot_exp.models.linears import owned
from dsnot_exp.models.made import Made, random_tensor
from dsnot_exp.run.check_memory import SQUARE
from dsnot_exp.utils.accelerator import forget_peak, is_accelerator, peak_memory, wait
from dsnot_exp.utils.distributed import ALONE
from dsnot_exp.walk.collect import Orders
from dsnot_exp.walk.hidden_states import Storage
from dsnot_exp.walk.loop import untimed
from dsnot_exp.walk.sequences import Sequences, begin
from dsnot_exp.walk.view import BlockView

FEW = 16  # tokens that show how long a forward takes, roughly
MANY = 256  # tokens from which on a CPU's products are about as fast as with a micro-batch's
TRIAL_S = 0.03  # of one forward on a CPU, with more tokens where it allows
LONG_S = 0.5  # on a CPU, a call that takes longer is not repeated
HEAD_TOKENS = 512  # their logits are far fewer than a GPU holds
MOST = 1 << 27  # weights of a block that a CPU can try

# The statistics, and whether a dense stream passes through the block beside the sparse one.
Collection = tuple[Needs, bool]


@dataclass(frozen=True)
class Collecting:
    """Seconds to collect statistics in one block: `once`, and for each token."""

    once: float
    token: float


@dataclass(frozen=True)
class BlockRate:
    """Seconds of one block.

    token: of a forward, per token; head: of the model's head and the loss, per token
    collecting: by `costly`
    copy: to the device and back
    beside: bytes of the device that collecting took beside the weights; 0 on a CPU
    shared: linears whose input another one before them has too
    """

    token: float
    head: float
    collecting: dict[Collection, Collecting]
    copy: float
    beside: int
    shared: frozenset[str]


def costly(needs: Needs, dense: bool) -> Collection:
    """Equal for collections that take about the same time."""
    return needs & SQUARE, dense


def rough_token(made: Made, seqlen: int) -> float:
    """Seconds of a forward through the block in the middle, per token, from a few tokens."""
    return _forward(made, 1, min(FEW, seqlen))


def block_rate(
    made: Made, collections: Iterable[Collection], seqlen: int, batch_size: int, rough: float
) -> BlockRate:
    """Of the block in the middle, which stands for all. batch_size: sequences per forward;
    collections: those to measure; rough: see rough_token"""
    device, few = made.device, min(FEW, seqlen)
    affordable = batch_size * seqlen if is_accelerator(device) else int(TRIAL_S / rough)
    sequences = max(1, min(batch_size, affordable // seqlen))
    length = min(seqlen, max(MANY, affordable))
    token = _forward(made, sequences, length)
    with made.fetch(_middle(made)) as block:
        forget_peak(device)
        weights = peak_memory(device)
        copy = _copy(block, device)
    wanted: dict[Collection, Needs] = {}
    for needs, dense in collections:
        if needs:
            key = costly(needs, dense)
            wanted[key] = wanted.get(key, needs) | needs
    found: dict[Collection, Collecting] = {}
    shared: set[str] = set()
    for key, needs in wanted.items():
        start, shared = _collect(made, 1, few, (needs, key[1]))
        rest = _collect(made, sequences, length, (needs, key[1]))[0] - start
        each = max(token / 2, rest / max(1, sequences * length - few))
        found[key] = Collecting(max(0.0, start - few * each), each)
    head = _head(made, sequences * length)
    beside = max(0, peak_memory(device) - weights)
    return BlockRate(token, head, found, copy, beside, frozenset(shared))


def _forward(made: Made, sequences: int, length: int) -> float:
    """Seconds of a forward through the block, per token."""
    with _entered(made, sequences, length) as (entered, block):
        (call,), hidden = entered.calls(_index(made)), entered.states[0]
        return _seconds(lambda: call.replay(block, hidden), made.device) / (sequences * length)


def _collect(
    made: Made, sequences: int, length: int, collection: Collection
) -> tuple[float, set[str]]:
    """Seconds to collect statistics of so many tokens, and which linears share theirs with one
    before."""
    needs, dense = collection
    seen: dict[int, str] = {}
    with _entered(made, sequences, length, dense) as (entered, block):
        own, index = owned(made.blocks[1], made.dense)[_index(made)], _index(made)
        view = BlockView(index, "made", block, own, entered, Orders(), ALONE, untimed)
        found = view.statistics(needs)
        shared = {name for name, one in found.items() if seen.setdefault(id(one), name) != name}
        del found
        return _seconds(lambda: view.statistics(needs), made.device), shared


def _head(made: Made, tokens: int) -> float:
    """Seconds of the head and the loss, per token: the embeddings stand for the head's weights."""
    weight = made.model.get_input_embeddings().weight
    tokens = min(tokens, HEAD_TOKENS)
    states = random_tensor((tokens, weight.shape[1]), weight.dtype, made.device)
    wanted = torch.zeros(tokens, dtype=torch.int64, device=made.device)
    return (
        _seconds(lambda: cross_entropy((states @ weight.T).float(), wanted), made.device) / tokens
    )


def _seconds(run: Callable[[], object], device: torch.device) -> float:
    """The shortest time of three calls. The first one loads kernels, and shows the order in which
    the block calls its linears."""
    found: list[float] = []
    while len(found) < 3:
        wait(device)
        start = time.perf_counter()
        run()
        wait(device)
        found.append(time.perf_counter() - start)
        if found[0] > LONG_S and not is_accelerator(device):
            break
    return min(found)


def _copy(block: nn.Module, device: torch.device) -> float:
    """Seconds to move the block into memory and to the device again."""
    return _seconds(lambda: block.to("cpu").to(device), device) if is_accelerator(device) else 0.0


@contextmanager
def _entered(
    made: Made, sequences: int, length: int, dense: bool = False
) -> Iterator[tuple[Sequences, nn.Module]]:
    """One micro-batch of random tokens that has reached the block."""
    vocabulary = made.model.get_input_embeddings().num_embeddings
    ids = torch.arange(sequences * length).reshape(sequences, length) % vocabulary
    stored = Storage("device")
    with begin(made, ids, sequences, stored, dense_stream=dense) as entered:
        entered.enter()
        with torch.no_grad(), made.fetch(_middle(made)) as block:
            yield entered, block


def _index(made: Made) -> int:
    return len(made.blocks[1]) // 2


def _middle(made: Made) -> nn.Module:
    return made.blocks[1][_index(made)]
