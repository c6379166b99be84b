"""In which precision a loss is taken, over which predictions, and how losses are averaged."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from dsnot_exp.evaluate.losses import mean_loss
from dsnot_exp.evaluate.perplexity import exp_of_mean, first_nonfinite, perplexity
from dsnot_exp.utils.distributed import Ranks
from dsnot_exp.utils.errors import RunError
from tests.support.command import Command, toy_arguments
from tests.support.families import build, tokens


def losses(logits: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """As Losses takes them, from the logits of five positions at a time."""
    rows = zip(logits, ids, strict=True)
    return torch.stack([mean_loss(iter(row[:-1].split(5)), own) for row, own in rows])


def by_hand(logits: torch.Tensor, ids: torch.Tensor) -> list[float]:
    """Each sequence's mean of -log p(next) over its S - 1 predictions, in float64."""
    means = []
    for row, target in zip(logits.double(), ids.tolist(), strict=True):
        found = [float(row[i].logsumexp(0) - row[i, target[i + 1]]) for i in range(len(row) - 1)]
        means.append(sum(found) / len(found))
    return means


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_a_loss_is_taken_in_float32_whatever_the_logits_are(dtype: torch.dtype) -> None:
    """In bfloat16 it would have three digits."""
    generator = torch.Generator().manual_seed(0)
    logits = (torch.randn(3, 12, 50, generator=generator) * 3).to(dtype)
    ids = torch.randint(0, 50, (3, 12), generator=generator)
    found = losses(logits, ids)
    assert found.dtype == torch.float64
    assert found.tolist() == pytest.approx(by_hand(logits, ids), rel=1e-6)


def test_a_bfloat16_model_has_the_perplexity_of_its_own_logits() -> None:
    model, blocks = build("llama").bfloat16(), tokens(4, 16)
    means = [by_hand(model(input_ids=b[None]).logits, b[None])[0] for b in blocks]
    assert perplexity(model, blocks, 1) == pytest.approx(math.exp(sum(means) / 4), rel=1e-6)


def test_the_first_token_is_not_predicted_and_the_last_predicts_nothing() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 6, 9, generator=generator)
    ids = torch.randint(0, 9, (1, 6), generator=generator)
    before = losses(logits, ids)
    other, first = logits.clone(), ids.clone()
    other[:, -1] = 1e6
    first[:, 0] = (ids[:, 0] + 1) % 9
    assert torch.equal(losses(other, ids), before)
    assert torch.equal(losses(logits, first), before)
    last = ids.clone()
    last[:, -1] = (ids[:, -1] + 1) % 9
    assert not torch.equal(losses(logits, last), before)


def test_every_sequence_weighs_the_same_in_batches_of_any_size() -> None:
    progress: list[int] = []
    parts = [torch.tensor([1.0, 2.0, 3.0]).double(), torch.tensor([6.0]).double()]
    assert exp_of_mean(parts, progress.append) == pytest.approx(math.exp(3))
    assert progress == [3, 1]


def test_every_process_counts_with_its_own_sequences(monkeypatch: pytest.MonkeyPatch) -> None:
    others = [(9.0, 2), (0.0, 0)]
    monkeypatch.setattr(Ranks, "gather", lambda self, mine: [mine, others])
    found = exp_of_mean([torch.tensor([3.0]).double()], lambda n: None, Ranks(0, 2))
    assert found == pytest.approx(math.exp((3 + 9) / 3))


def test_the_last_batch_may_be_smaller_and_a_nan_in_it_is_found() -> None:
    model, blocks = build("llama"), tokens(5, 8)
    model.get_input_embeddings().weight[int(blocks[-1, 0])] = torch.nan
    with pytest.raises(RunError, match="NaN"):
        perplexity(model, blocks, 2)


class Step(nn.Module):
    """A module that gives `value`, alone or first of several."""

    def __init__(self, value: float, several: bool) -> None:
        super().__init__()
        self.value, self.several = value, several

    def forward(self) -> object:
        x = torch.tensor(self.value)
        return (x, None) if self.several else x


class Steps(nn.Sequential):
    """Calls its modules one after the other, and returns no tensor."""

    def forward(self, input_ids: torch.Tensor, use_cache: bool) -> list[object]:
        return [step() for step in self]


@pytest.mark.parametrize("several", [False, True])
def test_the_first_module_whose_output_is_no_number_is_named(several: bool) -> None:
    ids = tokens(1, 4)
    values = [1.0, torch.inf, torch.nan]
    model = Steps(*[Step(value, several) for value in values])
    assert first_nonfinite(model, ids) == "1"
    assert not any(module._forward_hooks for module in model.modules())
    assert first_nonfinite(Steps(Step(1.0, several)), ids) == "Steps"


def test_a_dense_model_is_measured_anew_on_blocks_of_another_length(
    command: Command,
) -> None:
    """The same tokens cut otherwise are other predictions, whatever the batch is."""
    words = [*toy_arguments(command.folder), "eval.baselines=[dense]", "eval.batch_size=2"]
    dataset = f"{command.folder}/test.safetensors"
    values = []
    for seqlen in (24, 12):
        done = command(*words, f"eval.seqlen={seqlen}", run=f"{seqlen}")
        assert done.code == 0, done.err
        assert done.result["reused"] == []
        values.append(done.result["metrics"]["perplexity"][dataset]["dense"])
    assert values[0] != values[1]
