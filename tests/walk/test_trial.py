"""Trials of allocations on a model in memory."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn.functional import kl_div, log_softmax

from dsnot_exp.config import ModelConfig
from dsnot_exp.methods.patterns import Pattern, Unstructured
from dsnot_exp.methods.prune.sparsegpt import SparseGPT
from dsnot_exp.methods.prune.wanda import Wanda
from dsnot_exp.models.blocks import find_blocks
from dsnot_exp.models.linears import all_linears
from dsnot_exp.models.open import stream
from dsnot_exp.models.placement import Placed, place
from dsnot_exp.models.source import Source
from dsnot_exp.utils.errors import RunError
from dsnot_exp.walk import trial as module
from dsnot_exp.walk.trial import trial
from tests.support.families import build, tokens
from tests.support.ranks import in_processes

CPU, IDS = torch.device("cpu"), tokens(5, 16, seed=2)


def placed(family: str = "llama") -> Placed:
    model = build(family)
    return place(model, find_blocks(model), CPU)


def all_at(model: Placed, sparsity: float) -> dict[str, Pattern]:
    return dict.fromkeys(all_linears(model.blocks), Unstructured(sparsity))


@pytest.mark.parametrize("family", ["llama", "gpt2", "mixtral"])
def test_the_distance_is_the_divergence_and_the_weights_come_back(family: str) -> None:
    model = placed(family)
    before = {name: p.clone() for name, p in model.model.named_parameters()}
    dense = log_softmax(model.model(input_ids=IDS[:3]).logits, -1)
    with trial(model, IDS, 3, Wanda()) as distance:
        assert distance(all_at(model, 0.0)) == pytest.approx(0, abs=1e-9)
        half = all_at(model, 0.5)
        found = distance(half)
        sparse = log_softmax(model.model(input_ids=IDS[:3]).logits, -1)
        wanted = kl_div(sparse, dense, log_target=True, reduction="none").sum(-1)
        assert found == pytest.approx(float(wanted.mean()), rel=1e-4)
        assert distance(half, 1) == pytest.approx(float(wanted[0].mean()), rel=1e-4)
        for layer in all_linears(model.blocks).values():
            assert float((layer.weight == 0).float().mean()) == pytest.approx(0.5)
    assert all(torch.equal(p, before[name]) for name, p in model.model.named_parameters())


def test_only_the_layers_that_change_are_pruned_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    model, pruned = placed(), list[str]()
    real = module.Trial._prune

    def prune(self: module.Trial, name: str, pattern: Pattern) -> None:
        pruned.append(name)
        real(self, name, pattern)

    monkeypatch.setattr(module.Trial, "_prune", prune)
    with trial(model, IDS, 2, SparseGPT()) as distance:
        half = all_at(model, 0.5)
        first = distance(half)
        assert pruned == list(half)
        pruned.clear()
        layer = next(iter(half))
        assert distance(half | {layer: Unstructured(0.9)}) > first
        assert distance(half) == first
        assert pruned == [layer, layer]


def test_every_process_finds_the_same_distance() -> None:
    own = [placed() for _ in range(2)]

    def one(ranks: object) -> float:
        model = own[ranks.rank]  # type: ignore[attr-defined]
        with trial(model, IDS, 4, Wanda(), ranks=ranks) as distance:  # type: ignore[arg-type]
            return distance(all_at(model, 0.5))

    several = in_processes(2, one)
    assert several[0] == several[1]
    with trial(own[0], IDS, 4, Wanda()) as distance:
        assert distance(all_at(own[0], 0.5)) == pytest.approx(several[0], rel=1e-4)


def test_few_positions_stand_for_all_where_the_vocabulary_is_large(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "KEPT", 5 * 96 * 4)  # 4 positions of each sequence
    with trial(placed(), IDS, 5, Wanda()) as distance:
        assert {len(kept) for kept in distance.predictions} == {4}


def test_a_model_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    build("llama").save_pretrained(tmp_path)
    streamed = stream(Source(str(tmp_path)), ModelConfig("local", str(tmp_path)), CPU)
    with (
        pytest.raises(RunError, match="need the whole model on the device, and it does not fit"),
        trial(streamed, IDS, 2, Wanda()),
    ):
        pass
