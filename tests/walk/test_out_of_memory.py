"""Out of memory while sequences enter, in the first block of a streamed model, and what is said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from dsnot_exp.config import ModelConfig
from dsnot_exp.methods.patterns import Unstructured
from dsnot_exp.methods.prune.wanda import Wanda
from dsnot_exp.methods.statistics import InputStatistics
from dsnot_exp.models.blocks import find_blocks
from dsnot_exp.models.open import stream
from dsnot_exp.models.placement import place
from dsnot_exp.models.source import Source
from dsnot_exp.utils.errors import RunError
from dsnot_exp.walk.hidden_states import States, Storage
from dsnot_exp.walk.loop import walk
from dsnot_exp.walk.recipe import Recipe
from dsnot_exp.walk.sequences import Sequences
from dsnot_exp.walk.sparsify import sparsify
from tests.support.families import build, tokens
from tests.support.walking import MOMENTS, Watch, walked

CPU = torch.device("cpu")
BATCHES = [tokens(2, 12, seed=1), tokens(4, 12, seed=2), tokens(1, 12, seed=3)]
RECIPE = Recipe(Unstructured(0.5), Wanda())


def room_for(module: nn.Module, most: int, after: int = 0) -> list[int]:
    """From its `after`-th forward on, a module has room for `most` sequences at a time; the sizes
    of all its forwards."""
    sizes: list[int] = []

    def full(module: object, args: tuple[Tensor, ...]) -> None:
        sizes.append(len(args[0]))
        if len(sizes) > after and len(args[0]) > most:
            raise torch.OutOfMemoryError("CUDA out of memory")

    module.register_forward_pre_hook(full)
    return sizes


def assert_same(
    found: dict[str, dict[str, InputStatistics]], expected: dict[str, dict[str, InputStatistics]]
) -> None:
    assert list(found) == list(expected)
    for block, statistics in expected.items():
        assert list(found[block]) == list(statistics)
        for name, one in statistics.items():
            other = found[block][name]
            assert (other.sequences, other.tokens) == (one.sequences, one.tokens)
            torch.testing.assert_close(other.mean, one.mean)


@pytest.mark.parametrize("place", ["memory", "disk"])
def test_out_of_memory_in_the_embeddings_starts_with_smaller_batches(place: str) -> None:
    plenty, little, halved = build("llama"), build("llama"), []
    expected = walked(plenty, BATCHES, usual := Watch(MOMENTS))
    sizes = room_for(little.model.embed_tokens, 2, after=2)  # the second batch does not fit
    states, cramped = States(CPU, place), Watch(MOMENTS)
    found = walked(little, BATCHES, cramped, states=states, on_halved=halved.append)
    assert sizes == [1, 2, 4, 2, 2, 2, 1]  # the first: one sequence, to learn what blocks return
    assert halved == [2]
    assert [len(batch) for batch in found] == [2, 2, 2, 1]
    torch.testing.assert_close(torch.cat(found), torch.cat(expected))
    assert_same(cramped.seen, usual.seen)


@pytest.mark.parametrize("place", ["memory", "disk"])
@pytest.mark.parametrize("sizes", [(3, 4), (4, 3), (3, 1, 5), (5, 2, 3, 4)])
def test_after_out_of_memory_finished_batches_are_not_propagated_again(
    sizes: tuple[int, ...], place: str
) -> None:
    """The last batch runs out of memory, where the block's outputs are made."""
    ids = tokens(sum(sizes), 12)
    plenty, little = build("llama"), build("llama")
    expected = walked(plenty, [ids], Watch())
    room_for(little.model.layers[1].mlp, 2, after=len(sizes) - 1)
    found = walked(little, list(ids.split(sizes)), Watch(), states=States(CPU, place))
    torch.testing.assert_close(torch.cat(found), torch.cat(expected))


@pytest.mark.parametrize(
    ("after", "passes"),
    [
        (0, [[1], [2, 4, 2, 2, 2, 1], [2, 2, 2, 1]]),  # when it is solved
        (3, [[1], [2, 4, 1], [2, 4, 2, 2, 1]]),  # when its outputs are made
    ],
)
def test_out_of_memory_in_the_first_block_of_a_streamed_model(
    after: int, passes: list[list[int]], tmp_path: Path
) -> None:
    """The arguments of its forward are captured anew while it is in memory: it stays there and
    does not run. Its first forward, of one sequence, is to learn what it returns."""
    model = build("llama")
    model.save_pretrained(tmp_path)
    walked(model, BATCHES, usual := Watch(MOMENTS))
    streamed = stream(Source(str(tmp_path)), ModelConfig("local", str(tmp_path)), CPU)
    sizes = room_for(streamed.blocks[1][0].mlp, 2, 1 + after)
    sequences = Sequences(streamed.model, streamed.blocks, list(BATCHES), fetch=streamed.fetch)
    walk(sequences, cramped := Watch(MOMENTS))
    assert sizes == [size for part in passes for size in part]
    assert_same(cramped.seen, usual.seen)


def test_capturing_arguments_again_runs_no_block() -> None:
    model = build("llama")
    sequences = Sequences(model, find_blocks(model), list(BATCHES))
    sequences.enter()
    sizes = [room_for(block.self_attn, 99) for block in model.model.layers]
    sequences.split(1)
    calls = sequences.calls(1)
    assert len(calls) == sum(map(len, BATCHES))
    assert sizes == [[], [], []]


def sparsified(prepare: Callable[[nn.Module], object], batch_size: int) -> None:
    model = build("llama")
    prepare(model)
    placed = place(model, find_blocks(model), CPU)
    sparsify(placed, torch.cat(BATCHES), RECIPE, batch_size=batch_size, storage=Storage("memory"))


def test_a_smaller_batch_size_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    sparsified(lambda model: room_for(model.model.layers[1].mlp, 2), 4)
    assert "out of memory" in (out := capsys.readouterr().out)
    assert " 2 sequences" in out
    assert out.count("\n") == 1


def test_if_one_calibration_sequence_does_not_fit_the_options_to_change_are_named() -> None:
    with pytest.raises(RunError, match=r"out of memory.*calib\.seqlen.*device=cpu"):
        sparsified(lambda model: room_for(model.model.layers[1].mlp, 0), 4)
