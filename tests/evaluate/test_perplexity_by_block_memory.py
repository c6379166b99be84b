"""Block-by-block perplexity on out of memory, with hidden states on disk, and on overflow."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dsnot_exp.evaluate import perplexity_by_block as module
from dsnot_exp.evaluate.perplexity import perplexity
from dsnot_exp.evaluate.perplexity_by_block import perplexity_by_block
from dsnot_exp.models.blocks import find_blocks
from dsnot_exp.utils.distributed import Ranks
from dsnot_exp.utils.errors import RunError
from dsnot_exp.walk.hidden_states import States
from dsnot_exp.walk.sequences import Sequences, resident
from tests.support.command import Command, toy_arguments
from tests.support.families import build, tokens

CPU = torch.device("cpu")
IDS = tokens(7, 12)


def sequences_of(model: nn.Module, batch_size: int, **options: Any) -> Sequences:
    return Sequences(model, find_blocks(model), list(IDS.split(batch_size)), **options)


def room_for(part: nn.Module, most: int, after: int) -> list[int]:
    """From its `after`-th forward on, `part` has room for `most` sequences at a time; the sizes of
    all its forwards."""
    sizes: list[int] = []

    def full(part: object, args: tuple[Tensor, ...]) -> None:
        sizes.append(len(args[0]))
        if len(sizes) > after and len(args[0]) > most:
            raise torch.OutOfMemoryError("CUDA out of memory")

    part.register_forward_pre_hook(full)
    return sizes


@pytest.mark.parametrize("place", ["memory", "disk"])
@pytest.mark.parametrize("after", [0, 1])
def test_out_of_memory_after_the_blocks_at_any_batch_gives_the_same_value(
    after: int, place: str
) -> None:
    model, halved, progress = build("llama"), [], []
    expected = perplexity(model, IDS, 1)
    sizes = room_for(model.model.norm, 1, after)
    sequences = sequences_of(model, 3, states=States(CPU, place), on_halved=halved.append)
    found = perplexity_by_block(sequences, progress.append)
    assert found == pytest.approx(expected, rel=1e-9)
    assert halved == [1]
    assert sizes == [3] * (after + 1) + [1] * (7 - 3 * after)
    assert progress == 2 * [3, 3, 1] + [3] * after + [1] * (7 - 3 * after)


@pytest.mark.parametrize("block", [0, 1, 2])
def test_out_of_memory_in_any_block_gives_the_same_value(block: int) -> None:
    model, halved = build("gemma2"), []
    expected = perplexity(model, IDS, 1)
    learns = int(block == 0)  # the first runs once more, to learn what its class returns
    room_for(find_blocks(model)[1][block].mlp, 2, after=learns + 1)
    found = perplexity_by_block(sequences_of(model, 4, on_halved=halved.append))
    assert found == pytest.approx(expected, rel=1e-6)
    assert halved == [2]


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2"])
def test_states_on_disk_give_the_same_value(family: str, tmp_path: Path) -> None:
    model = build(family)
    found = perplexity_by_block(sequences_of(model, 3, states=States(CPU, "disk", tmp_path)))
    assert found == perplexity(model, IDS, 3)


@dataclass(frozen=True)
class WithOthers(Ranks):
    """The last of three processes; what the others found is given."""

    rank: int = 2
    size: int = 3
    others: list[Any] = field(default_factory=list)

    def gather(self, value: Any) -> list[Any]:
        return [*self.others, value]


@pytest.mark.parametrize("count", [0, 3])
def test_a_process_without_sequences_takes_part(count: int) -> None:
    model, progress = build("llama"), []
    ranks = WithOthers(others=[[(10.0, 4)], [(2.0, 1), (1.0, 1)]])
    batches = list(IDS[:count].split(2)) if count else []
    fetch = resident if count else pytest.fail  # no block is brought for nothing
    sequences = Sequences(model, find_blocks(model), batches, fetch=fetch)
    found = perplexity_by_block(sequences, progress.append, ranks)
    own = count * math.log(perplexity(model, IDS[:count], 2)) if count else 0.0
    assert math.log(found) == pytest.approx((13 + own) / (6 + count))
    assert sum(progress) == 3 * count


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("model.embed_tokens", "embeddings"),
        ("model.layers.0.mlp.up_proj", "model.layers.0"),
        ("model.layers.1.mlp.up_proj", "model.layers.1"),
        ("model.layers.2.mlp.up_proj", "LlamaForCausalLM"),
        ("lm_head", "LlamaForCausalLM"),
    ],
)
def test_the_module_with_nan_in_its_output_is_named(path: str, named: str) -> None:
    model = build("llama")
    model.get_submodule(path).weight.fill_(torch.nan)
    with pytest.raises(RunError, match=f"^{named}: .*NaN"):
        perplexity_by_block(sequences_of(model, 3))


def test_if_one_evaluation_sequence_does_not_fit_the_option_to_change_is_named(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(module.Losses, "__call__", full)
    done = command(*toy_arguments(tmp_path), "prune=none", "eval.streaming=true")
    assert done.code == 1
    assert "out of memory" in done.err
    assert "eval.seqlen" in done.err
    assert done.out.count("out of memory") == 3  # 8, 4 and 2 sequences did not fit either
