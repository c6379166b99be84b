"""The refinement budget of a block is the one whose masks give the smallest output error on
held-out tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from dsnot_exp.methods.patterns import NM, Pattern, Unstructured
from dsnot_exp.methods.protocols import Initial, Refined, Refiner
from dsnot_exp.methods.prune.sparsegpt import SparseGPT
from dsnot_exp.methods.prune.wanda import Wanda
from dsnot_exp.methods.reconstruct.cg import ConjugateGradients
from dsnot_exp.methods.refine.dsnot.method import BUDGETS, DSnoT
from dsnot_exp.methods.refine.moments import Moments
from dsnot_exp.methods.refine.options import BUDGETS as SWAPS
from dsnot_exp.methods.refine.swaps import Swaps
from dsnot_exp.methods.statistics import InputStatistics
from dsnot_exp.models.blocks import find_blocks
from dsnot_exp.models.placement import Placed, place
from dsnot_exp.utils.distributed import ALONE, Ranks
from dsnot_exp.walk.choose import output_error
from dsnot_exp.walk.recipe import Recipe
from dsnot_exp.walk.sparsified import Sparsified
from dsnot_exp.walk.sparsify import sparsify
from tests.support.families import build, tokens
from tests.support.methods import Idle
from tests.support.ranks import in_processes

HALF = Unstructured(0.5)
IDS, HELD_OUT = tokens(4, 20, seed=1), tokens(2, 20, seed=2)
AUTO = Recipe(HALF, Wanda(), DSnoT(max_cycles="auto", update_threshold=0))


def placed(family: str = "llama", layers: int = 2) -> Placed:
    model = build(family, num_hidden_layers=layers)
    return place(model, find_blocks(model), torch.device("cpu"))


def chosen(recipe: Recipe, model: Placed, **options: Any) -> Sparsified:
    return sparsify(model, IDS, recipe, held_out=HELD_OUT, **options)


def weights(model: Placed) -> list[Tensor]:
    return [p.data.clone() for p in model.model.parameters()]


@pytest.mark.parametrize(
    ("family", "recipe"),
    [
        ("llama", AUTO),
        ("mixtral", replace(AUTO, min_tokens=4)),
        ("gpt2", replace(AUTO, pruner=SparseGPT())),
        ("llama", replace(AUTO, pattern=NM(2, 4))),
    ],
    ids=["wanda", "experts", "moved weights", "2:4"],
)
def test_the_first_block_takes_the_budget_with_the_smallest_output_error(
    family: str, recipe: Recipe
) -> None:
    """The slow twin: a walk of its own for each budget, and both blocks on the same tokens."""
    dense = placed(family, 1)
    model = placed(family, 1)
    (choice,) = chosen(recipe, model).choices
    errors = {}
    for budget in BUDGETS:
        fixed = placed(family, 1)
        refiner = replace(DSnoT(update_threshold=0), max_cycles=budget)
        sparsify(fixed, IDS, replace(recipe, refiner=refiner))
        errors[str(budget)] = (output(fixed), fixed)
    wanted = output(dense)
    for budget, (found, _) in errors.items():
        assert choice.errors[budget] == pytest.approx(output_error(found, wanted, ALONE), rel=1e-5)
    assert choice.block == dense.blocks[0] + ".0"
    assert choice.errors[choice.chosen] == min(choice.errors.values())
    assert len(set(choice.errors.values())) > 2
    for ours, theirs in zip(weights(model), weights(errors[choice.chosen][1]), strict=True):
        assert torch.equal(ours, theirs)


def output(model: Placed) -> Tensor:
    """What the only block makes of the held-out sequences."""
    seen: list[Tensor] = []

    def keep(module: Any, args: Any, result: Any) -> None:
        seen.append(result[0] if isinstance(result, tuple) else result)

    handle = model.blocks[1][0].register_forward_hook(keep)
    with torch.no_grad():
        model.model(input_ids=HELD_OUT)
    handle.remove()
    return seen[0]


@pytest.mark.parametrize("refiner", [Moments(), Swaps(max_swaps="auto")], ids=["moments", "swaps"])
def test_swaps_are_chosen_and_the_kept_weights_reconstructed_after(refiner: Refiner) -> None:
    recipe, model, plain = Recipe(HALF, Wanda(), refiner), placed(), placed()
    found = chosen(replace(recipe, reconstructor=ConjugateGradients()), model)
    assert [list(c.errors) for c in found.choices] == [[str(b) for b in SWAPS]] * 2
    alone = chosen(recipe, plain)
    assert found.choices[0] == alone.choices[0]  # made before the kept weights move
    for ours, theirs in zip(found.records[:7], alone.records[:7], strict=True):
        assert ours.relative_before == theirs.relative_before
        assert ours.relative_after < theirs.relative_after
        assert ours.swaps == theirs.swaps
        assert (ours.zeros, ours.weights) == (theirs.zeros, theirs.weights)


def test_held_out_sequences_count_for_no_statistic() -> None:
    recipe = replace(AUTO, refiner=DSnoT(max_cycles=5))
    with_them, without = placed(), placed()
    a = sparsify(with_them, IDS, recipe, held_out=HELD_OUT, batch_size=3)
    b = sparsify(without, IDS, recipe, batch_size=3)
    assert a.masks_sha256 == b.masks_sha256
    assert a.records == b.records
    assert a.choices == b.choices == []


def test_the_choice_does_not_depend_on_processes_or_the_micro_batch() -> None:
    alone = chosen(AUTO, placed())
    for size in (1, 3):
        again = chosen(AUTO, placed(), batch_size=size)
        assert [c.chosen for c in again.choices] == [c.chosen for c in alone.choices]

    models = [placed() for _ in range(3)]  # not in the threads: they share a random generator

    def run(ranks: Ranks) -> Sparsified:
        return chosen(AUTO, models[ranks.rank], ranks=ranks)

    for found in in_processes(3, run):  # the third has no held-out sequence
        assert found.masks_sha256 == alone.masks_sha256
        for ours, theirs in zip(found.choices, alone.choices, strict=True):
            assert ours.chosen == theirs.chosen
            assert ours.errors == pytest.approx(theirs.errors, rel=1e-5)


@dataclass
class Steps(Idle):
    """A refiner whose budgets all keep the mask."""

    candidates: Mapping[str, Any] = field(default_factory=dict)
    calls: int = 0

    def __call__(
        self, weight: Tensor, initial: Initial, statistics: InputStatistics, pattern: Pattern,
        generator: torch.Generator,
    ) -> Refined:  # fmt: skip
        self.calls += 1
        return super().__call__(weight, initial, statistics, pattern, generator)


def test_on_a_tie_the_smallest_budget_wins_and_equal_masks_are_tried_once() -> None:
    steps = {name: Steps() for name in ("none", "some", "many")}
    model, forwards = placed("llama", 1), [0]
    model.blocks[1][0].register_forward_hook(lambda *_: forwards.__setitem__(0, forwards[0] + 1))
    (choice,) = chosen(replace(AUTO, refiner=Steps(candidates=steps)), model).choices
    assert choice.chosen == "none"
    assert len(set(choice.errors.values())) == 1
    assert {step.calls for step in steps.values()} == {7}
    assert forwards[0] == 1 + 2  # statistics; the dense block, and one candidate's


def test_every_token_counts_the_same() -> None:
    dense = torch.tensor([[[1000.0, 0.0], [1.0, 0.0]]])
    sparse = torch.tensor([[[900.0, 0.0], [1.0, 0.5]]])
    assert output_error(sparse, dense, ALONE) == pytest.approx((0.01 + 0.25) / 2)
    assert output_error(dense, dense, ALONE) == 0
    assert output_error(dense[:0], dense[:0], ALONE) == 0
