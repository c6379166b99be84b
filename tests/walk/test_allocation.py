"""Allocators look at the dense model, in any number of processes, and leave it as it was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch

from dsnot_exp.config import ModelConfig
from dsnot_exp.methods.allocate.alpha import Alpha
from dsnot_exp.methods.allocate.fisher import Fisher
from dsnot_exp.methods.allocate.owl import OWL
from dsnot_exp.methods.allocation import Seen, Site
from dsnot_exp.methods.patterns import NM, Pattern, Unstructured
from dsnot_exp.methods.protocols import Needs
from dsnot_exp.methods.prune.magnitude import Magnitude
from dsnot_exp.methods.statistics import Statistic
from dsnot_exp.models.blocks import find_blocks
from dsnot_exp.models.linears import is_routed
from dsnot_exp.models.open import stream
from dsnot_exp.models.placement import Placed, place
from dsnot_exp.models.source import Source
from dsnot_exp.walk.allocation import (
    NOT_SEEN,
    Given,
    allocated,
    allocation_hash,
    from_targets,
    reads_tokens,
    targets,
)
from dsnot_exp.walk.recipe import Recipe
from dsnot_exp.walk.sparsify import sparsify
from tests.support.families import build, tokens
from tests.support.ranks import in_processes

CPU, IDS = torch.device("cpu"), tokens(6, 20, seed=3)
PLAIN = Recipe(Unstructured(0.6), Magnitude("row"), relative_error="false")
ALLOCATORS = [Fisher(samples=2), OWL(), Alpha()]


def placed(family: str = "llama", **changes: object) -> Placed:
    model = build(family, **changes)
    return place(model, find_blocks(model), CPU)


def found(recipe: Recipe) -> Given:
    assert isinstance(recipe.allocator, Given)
    return recipe.allocator


@pytest.mark.parametrize("allocator", ALLOCATORS, ids=lambda a: type(a).__name__)
def test_the_same_allocation_in_memory_from_disk_and_in_processes(
    allocator: Fisher | OWL | Alpha, tmp_path: Path
) -> None:
    recipe, model = replace(PLAIN, allocator=allocator), placed()
    before = {name: p.clone() for name, p in model.model.named_parameters()}
    wanted = targets(found(allocated(model, IDS, recipe)).patterns)
    assert len(set(wanted.values())) > 1
    assert all(torch.equal(p, before[name]) for name, p in model.model.named_parameters())
    model.model.save_pretrained(tmp_path)
    streamed = stream(Source(str(tmp_path)), ModelConfig("local", str(tmp_path)), CPU)
    assert targets(found(allocated(streamed, IDS, recipe)).patterns) == wanted
    own = [placed() for _ in range(2)]
    several = in_processes(2, lambda r: allocated(own[r.rank], IDS, recipe, ranks=r))
    each = [targets(found(one).patterns) for one in several]
    assert each[0] == each[1]
    assert each[0] == pytest.approx(wanted, abs=2 / 32)  # sums are rounded in another order


def test_sparsify_asks_the_allocator_and_prunes_as_it_says() -> None:
    model = placed()
    sparse = sparsify(model, IDS, replace(PLAIN, allocator=OWL(spread=0.2)))
    assert len({*sparse.targets.values()}) > 1
    weights = sum(r.weights for r in sparse.records)
    assert 0 <= 0.6 * weights - sum(r.zeros for r in sparse.records) < 48
    for record in sparse.records:
        assert record.zeros / record.weights == pytest.approx(sparse.targets[record.layer])


@pytest.mark.parametrize("allocator", [Fisher(samples=2), OWL()], ids=["fisher", "owl"])
def test_an_expert_with_few_tokens_keeps_the_models_sparsity(allocator: Fisher | OWL) -> None:
    told: list[str] = []
    model = placed("mixtral", num_hidden_layers=1)
    recipe = replace(PLAIN, allocator=allocator, min_tokens=60)
    given = found(allocated(model, IDS, recipe, on_note=told.append))
    routed = {layer for layer in given.patterns if is_routed(layer)}
    assert given.notes
    assert set(given.notes) < routed
    assert {given.patterns[layer] for layer in given.notes} == {Unstructured(0.6)}
    assert set(given.notes.values()) == {NOT_SEEN}
    assert len(told) == 1
    sparse = sparsify(model, IDS, replace(recipe, allocator=given))
    assert sparse.notes == given.notes


@dataclass
class Watching:
    """Notes what it is shown."""

    needs: Needs = frozenset({Statistic.NORM})
    gradients: int = 2
    blocks: list[list[str]] = field(default_factory=list)

    def survey(self, layers: Mapping[str, Seen]) -> dict[str, list[float]]:
        self.blocks.append(list(layers))
        for seen in layers.values():
            assert seen.statistics is not None
            assert seen.statistics.tokens == IDS.numel()
            assert seen.gradient is not None
            assert seen.gradient.shape == seen.weight.shape[:1]
        return {name: [1.0] for name in layers}

    def allocate(
        self, surveyed: Mapping[str, list[float]], sites: Mapping[str, Site], pattern: Pattern
    ) -> dict[str, Pattern]:
        assert list(surveyed) == list(sites)
        assert {site.block for site in sites.values()} == {f"model.layers.{i}" for i in range(3)}
        return dict.fromkeys(sites, pattern)


def test_a_surveyor_sees_every_block_once_with_all_calibration_tokens() -> None:
    watching = Watching()
    allocated(placed(), IDS, replace(PLAIN, allocator=watching))
    assert [len(block) for block in watching.blocks] == [7, 7, 7]


def test_which_allocators_need_tokens() -> None:
    assert [reads_tokens(a) for a in (*ALLOCATORS, PLAIN.allocator)] == [True, True, False, False]


def test_an_allocation_is_plain_data_and_its_hash_tells_it_apart() -> None:
    patterns: dict[str, Pattern] = {"a": Unstructured(0.3), "b": NM(2, 4)}
    assert targets(patterns) == {"a": 0.3, "b": "2:4"}
    assert from_targets(targets(patterns)) == patterns
    hashes = {
        allocation_hash(replace(PLAIN, allocator=allocator))
        for allocator in (Given(patterns), Given({**patterns, "a": Unstructured(0.4)}))
    }
    assert len(hashes) == 2
    assert allocation_hash(PLAIN) == ""
