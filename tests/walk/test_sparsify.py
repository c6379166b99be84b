"""What the solver does to one block: memory, experts with few tokens, notes, and refusals."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from dsnot_exp.methods.patterns import Pattern, Unstructured
from dsnot_exp.methods.protocols import Initial, Needs, Refined, Rows
from dsnot_exp.methods.prune.magnitude import Magnitude
from dsnot_exp.methods.prune.wanda import Wanda
from dsnot_exp.methods.refine.dsnot.method import DSnoT
from dsnot_exp.methods.statistics import Accumulator, InputStatistics
from dsnot_exp.models.blocks import find_blocks
from dsnot_exp.models.linears import linears
from dsnot_exp.models.placement import Placed, place
from dsnot_exp.utils.errors import RunError
from dsnot_exp.walk.recipe import Recipe
from dsnot_exp.walk.record import LayerRecord
from dsnot_exp.walk.sparsified import Sparsified
from dsnot_exp.walk.sparsify import sparsify
from tests.support.families import build, tokens
from tests.support.methods import Idle
from tests.support.walking import GRAM, MOMENTS, Watch, walked

HALF = Unstructured(0.5)
IDS = tokens(3, 20, seed=1)


def placed(family: str = "llama", **changes: Any) -> Placed:
    model = build(family, num_hidden_layers=1, **changes)
    return place(model, find_blocks(model), torch.device("cpu"))


def records(sparse: Sparsified) -> dict[str, LayerRecord]:
    return {record.layer: record for record in sparse.records}


@dataclass
class Pruner:
    """Prunes by magnitude row by row, after `look` was given the weight and the statistics."""

    look: Callable[[Tensor, InputStatistics | None], object] = lambda weight, statistics: None
    needs: Needs = frozenset()
    rows: Rows = "independent"
    changes: dict[str, Any] = field(default_factory=dict)  # of what it returns

    def __call__(
        self,
        weight: Tensor,
        statistics: InputStatistics | None,
        pattern: Pattern,
        equal_rows: bool,
    ) -> Initial:
        self.look(weight, statistics)
        return replace(Magnitude("row")(weight, None, pattern, equal_rows), **self.changes)


def test_a_gram_matrix_is_freed_after_the_last_linear_that_uses_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """q, k and v share one; o, gate with up, and down have their own."""
    grams: list[weakref.ref[Tensor]] = []
    finish = Accumulator.finish

    def finished(self: Accumulator) -> InputStatistics:
        found = finish(self)
        assert found.gram is not None
        grams.append(weakref.ref(found.gram))
        return found

    def alive() -> int:
        return sum(gram() is not None for gram in grams)

    monkeypatch.setattr(Accumulator, "finish", finished)
    found: list[int] = []
    pruner = Pruner(lambda weight, statistics: found.append(alive()), frozenset({GRAM}))
    sparsify(placed(), IDS, Recipe(HALF, pruner))
    assert found == [4, 4, 4, 3, 2, 2, 1]
    assert alive() == 0


def tokens_seen() -> dict[str, int]:
    """By every expert's linear of the first block of a mixtral."""
    model, watch = build("mixtral", num_hidden_layers=1), Watch(MOMENTS)
    walked(model, [IDS], watch)
    (statistics,) = watch.seen.values()
    return {name: found.tokens for name, found in statistics.items() if ".experts." in name}


@pytest.mark.parametrize("refiner", [None, DSnoT(max_cycles=3)], ids=["pruned", "refined"])
def test_an_expert_with_one_token_too_few_is_pruned_by_magnitude(
    refiner: DSnoT | None,
) -> None:
    seen = tokens_seen()
    expert = next(name for name in seen if name.endswith("down_proj"))
    layer, count = f"model.layers.0.{expert}", seen[expert]
    assert count > 1
    recipe = Recipe(HALF, Wanda(), refiner, min_tokens=count)
    at, above = placed("mixtral"), placed("mixtral")
    enough = sparsify(at, IDS, recipe)
    few = sparsify(above, IDS, replace(recipe, min_tokens=count + 1))
    assert layer not in enough.notes
    assert records(enough)[layer].expected_before is not None
    assert (records(enough)[layer].swaps > 0) == (refiner is not None)
    words = f"calibration tokens seen: {count}; pruned by magnitude"
    assert few.notes[layer] == words + (", not refined" if refiner is not None else "")
    assert records(few)[layer].expected_before is None
    assert records(few)[layer].swaps == 0
    dense, *sparse = (
        linears(p.blocks[1][0])[expert].weight for p in (placed("mixtral"), at, above)
    )
    masks = [Magnitude("row")(dense, None, HALF, True).mask, *(weight != 0 for weight in sparse)]
    assert torch.equal(masks[0], masks[2])
    assert not torch.equal(masks[0], masks[1])


def test_only_layers_of_experts_count_as_starved() -> None:
    notes = sparsify(placed("mixtral"), IDS[:1, :2], Recipe(HALF, Wanda(), min_tokens=10**6)).notes
    assert set(notes) == {
        f"model.layers.0.{name}"
        for name in linears(placed("mixtral").blocks[1][0])
        if ".experts." in name
    }
    assert any("tokens seen: 0;" in note for note in notes.values())


def test_without_statistics_no_expert_counts_as_starved() -> None:
    sparse = sparsify(placed("mixtral"), None, Recipe(HALF, Magnitude(), min_tokens=10**6))
    assert sparse.notes == {}


def test_eight_notes_are_shown_and_all_are_kept() -> None:
    shown: list[str] = []
    notes = sparsify(
        placed("mixtral", num_local_experts=5, num_experts=5),
        IDS,
        Recipe(HALF, Wanda(), min_tokens=10**6),
        on_note=shown.append,
    ).notes
    assert len(notes) == 2 * 5
    more = "; further notes: result.json"
    lines = [f"{layer}: {note}" for layer, note in notes.items()][:8]
    assert shown == [*lines[:7], lines[7] + more]


def test_the_note_of_a_pruner_is_recorded_for_each_layer() -> None:
    sparse = sparsify(placed(), None, Recipe(HALF, Pruner(changes={"note": "fell back"})))
    assert len(sparse.notes) == 7
    assert set(sparse.notes.values()) == {"fell back"}


def test_on_layer_is_called_before_a_layer_is_pruned() -> None:
    events: list[str] = []
    pruner = Pruner(lambda weight, statistics: events.append("pruned"))
    sparse = sparsify(placed(), None, Recipe(HALF, pruner), on_layer=events.append)
    layers = list(records(sparse))
    assert len(layers) == 7
    assert events == [event for layer in layers for event in (layer, "pruned")]
    for layer, record in records(sparse).items():
        weight = placed().model.get_parameter(f"{layer}.weight")
        assert (record.weights, record.zeros) == (weight.numel(), weight.numel() // 2)


def test_a_changed_weight_is_used_only_if_the_pruner_sets_moved() -> None:
    def sparse(**changes: Any) -> Tensor:
        class Mover(Pruner):
            def __call__(self, weight: Tensor, *rest: Any) -> Initial:
                return replace(super().__call__(weight, *rest), weight=weight + 1, **changes)

        model = placed()
        sparsify(model, None, Recipe(HALF, Mover()))
        return model.model.model.layers[0].mlp.up_proj.weight

    dense = placed().model.model.layers[0].mlp.up_proj.weight
    moved = sparse(moved=True)
    assert torch.equal(moved, (dense + 1).masked_fill(moved == 0, 0))
    with pytest.raises(RunError, match=r"^model\.layers\.0\.self_attn\.q_proj: Mover .*moved"):
        sparse(moved=False)


def test_an_arithmetic_error_of_a_pruner_names_the_layer() -> None:
    def singular(weight: Tensor, statistics: InputStatistics | None) -> None:
        raise ArithmeticError("not positive definite")

    with pytest.raises(RunError, match=r"^model\.layers\.0\.self_attn\.q_proj: not positive"):
        sparsify(placed(), None, Recipe(HALF, Pruner(singular)))


def test_a_layer_with_nan_after_pruning_is_named() -> None:
    @dataclass
    class Broken(Pruner):
        needs: Needs = frozenset()

        def __call__(self, weight: Tensor, *rest: Any) -> Initial:
            found = super().__call__(weight, *rest)
            return replace(found, weight=weight / 0, moved=True)

    with pytest.raises(RunError, match=r"^model\.layers\.0\.self_attn\.q_proj: .*NaN"):
        sparsify(placed(), None, Recipe(HALF, Broken()))


def test_a_layer_in_skip_keeps_its_initial_mask() -> None:
    pruned, skipped = placed(), placed()
    sparsify(pruned, IDS, Recipe(HALF, Wanda()))
    found = sparsify(skipped, IDS, Recipe(HALF, Wanda(), DSnoT(max_cycles=3, skip=["self_attn"])))
    for layer, record in records(found).items():
        own, other = (p.model.get_parameter(f"{layer}.weight") for p in (skipped, pruned))
        assert torch.equal(own, other) == (".self_attn." in layer), layer
        assert (record.swaps == 0) == (".self_attn." in layer)


def test_every_layer_draws_its_own_numbers_which_the_seed_determines() -> None:
    def drawn(seed: int) -> list[int]:
        sparsify(placed(), IDS, Recipe(HALF, Wanda(), refiner := Idle(), seed=seed))
        return refiner.drawn

    first, other = drawn(0), drawn(1)
    assert len(set(first + other)) == 2 * 7
    assert drawn(0) == first


def test_a_refiner_that_changes_a_budget_is_refused() -> None:
    class Drops(Idle):
        def __call__(self, weight: Tensor, initial: Initial, *rest: Any) -> Refined:
            found = super().__call__(weight, initial, *rest)
            return replace(found, mask=torch.zeros_like(initial.mask))

    with pytest.raises(AssertionError, match="budget"):
        sparsify(placed(), IDS, Recipe(HALF, Wanda(), Drops()))
