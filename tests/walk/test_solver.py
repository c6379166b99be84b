"""What is done to each layer of a block: which methods run, on what, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dsnot_exp.config import Config
from dsnot_exp.methods.patterns import NM, Pattern, Unstructured
from dsnot_exp.methods.protocols import Initial, Needs, Refined, Rows
from dsnot_exp.methods.prune.magnitude import Magnitude
from dsnot_exp.methods.prune.sparsegpt import SparseGPT
from dsnot_exp.methods.prune.wanda import Wanda
from dsnot_exp.methods.reconstruct.cg import ConjugateGradients
from dsnot_exp.methods.reconstruct.lstsq import LeastSquares
from dsnot_exp.methods.reconstruct.none import Keep
from dsnot_exp.methods.refine.dsnot.method import DSnoT
from dsnot_exp.methods.refine.moments import Moments
from dsnot_exp.methods.refine.swaps import Swaps
from dsnot_exp.methods.statistics import InputStatistics, Statistic
from dsnot_exp.models.blocks import find_blocks
from dsnot_exp.models.linears import all_linears
from dsnot_exp.models.placement import Placed
from dsnot_exp.utils.distributed import Ranks
from dsnot_exp.utils.errors import RunError
from dsnot_exp.walk.layer_solver import LayerSolver
from dsnot_exp.walk.recipe import Recipe
from dsnot_exp.walk.record import LayerRecord, Solved
from dsnot_exp.walk.solver import BlockSolver
from dsnot_exp.walk.view import BlockView
from tests.support.families import build, tokens
from tests.support.methods import Idle
from tests.support.walking import Watch, walked

HALF = Unstructured(0.5)
PLAIN = Recipe(HALF, Wanda())
LAYERS = [
    f"model.layers.0.{name}"
    for name in ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
                 "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")
]  # fmt: skip
MLP, OUT = LAYERS[4:], LAYERS[3]


def names(model: nn.Module) -> list[str]:
    return list(all_linears(find_blocks(model)))


@dataclass
class Watching:
    """A solver that keeps what another one returns."""

    solver: BlockSolver
    seen: list[Solved] = field(default_factory=list)

    def __call__(self, view: BlockView) -> Solved:
        self.seen.append(self.solver(view))
        return self.seen[-1]


def solved(recipe: Recipe, layers: int = 1, family: str = "llama", **options: Any) -> list[Solved]:
    """A small model solved by a recipe, block by block."""
    model = build(family, num_hidden_layers=layers)
    patterns: dict[str, Pattern] = recipe.allocator(names(model), recipe.pattern)
    watching = Watching(BlockSolver(recipe, patterns, **options))
    walked(model, [tokens(4, 16, seed=s) for s in (1, 2)], watching)
    return watching.seen


def mask(found: Solved, layer: str) -> bytes:
    (packed,) = (bits for name, bits in found.masks.items() if name.startswith(f"{layer}("))
    return packed.numpy().tobytes()


def differing(a: Solved, b: Solved) -> list[str]:
    return [layer for layer in LAYERS if mask(a, layer) != mask(b, layer)]


@pytest.mark.parametrize(
    ("skip", "skipped"),
    [
        ([], []),
        (["mlp"], MLP),
        (["mlp|self_attn.o_proj"], [OUT, *MLP]),
        (["mlp.*", "self_attn.o_proj"], [OUT, *MLP]),
        (["*"], LAYERS),
        (["down_proj"], []),
    ],
    ids=str,
)
def test_a_skipped_layer_keeps_its_initial_mask(skip: list[str], skipped: list[str]) -> None:
    (alone,) = solved(PLAIN)
    (found,) = solved(replace(PLAIN, refiner=DSnoT(skip=skip)))
    assert differing(found, alone) == [layer for layer in LAYERS if layer not in skipped]
    for record in found.records:
        still = record.layer in skipped
        assert (record.swaps == record.cycles == 0) == still
        assert (record.expected_after == record.expected_before) == still


def test_masks_are_recorded_by_layer_and_shape_eight_entries_a_byte() -> None:
    (found,) = solved(PLAIN)
    shapes = [(32, 32)] * 4 + [(48, 32), (48, 32), (32, 48)]
    assert list(found.masks) == [f"{n}{s}" for n, s in zip(LAYERS, shapes, strict=True)]
    assert [r.layer for r in found.records] == LAYERS
    for record, (out, width) in zip(found.records, shapes, strict=True):
        kept = np.unpackbits(np.frombuffer(mask(found, record.layer), dtype=np.uint8))
        assert (record.weights, record.zeros) == (out * width, out * width // 2)
        assert kept.reshape(out, width).sum(1).tolist() == [width // 2] * out


def test_the_recorded_mask_is_that_of_the_weight() -> None:
    model = build("llama", num_hidden_layers=1)
    watching = Watching(BlockSolver(PLAIN, dict.fromkeys(names(model), HALF)))
    walked(model, [tokens(4, 16)], watching)
    for layer in LAYERS:
        weight = model.get_submodule(layer).weight
        assert mask(watching.seen[0], layer) == np.packbits((weight != 0).numpy()).tobytes()


@dataclass(frozen=True)
class Shifting:
    """A pruner that changes the weight, and may or may not say so."""

    needs: ClassVar[Needs] = frozenset()
    rows: ClassVar[Rows] = "independent"
    by: float = 0.0
    says: bool = False

    def __call__(
        self,
        weight: Tensor,
        statistics: InputStatistics | None,
        pattern: Pattern,
        equal_rows: bool,
    ) -> Initial:
        scores = weight.abs()
        return Initial(pattern.mask(scores), weight + self.by, scores, self.says, "a note")


def test_a_weight_that_was_changed_in_silence_is_refused() -> None:
    with pytest.raises(RunError, match=rf"^{LAYERS[0]}: Shifting .*Initial\.moved"):
        solved(Recipe(HALF, Shifting(by=0.5)))


@pytest.mark.parametrize("pruner", [Shifting(by=0.5, says=True), Shifting(), Shifting(says=True)])
def test_a_weight_that_was_changed_and_said_so_or_only_copied_is_taken(pruner: Shifting) -> None:
    model, dense = build("llama", num_hidden_layers=1), build("llama", num_hidden_layers=1)
    solver = BlockSolver(Recipe(HALF, pruner), dict.fromkeys(names(model), HALF))
    walked(model, [tokens(2, 8)], solver)
    for layer in LAYERS:
        before, after = (m.get_submodule(layer).weight for m in (dense, model))
        kept = HALF.mask(before.abs())
        assert torch.equal(after, (before + pruner.by).masked_fill(~kept, 0))


def test_a_grown_weight_comes_back_with_its_dense_value() -> None:
    model, dense = build("llama", num_hidden_layers=1), build("llama", num_hidden_layers=1)
    recipe = Recipe(HALF, SparseGPT(), DSnoT(only_better="never"))
    walked(model, [tokens(4, 16)], BlockSolver(recipe, dict.fromkeys(names(model), HALF)))
    alone = build("llama", num_hidden_layers=1)
    walked(
        alone, [tokens(4, 16)], BlockSolver(Recipe(HALF, SparseGPT()), dict.fromkeys(LAYERS, HALF))
    )
    grown_at_all = 0
    for layer in LAYERS:
        before, initial, after = (m.get_submodule(layer).weight for m in (dense, alone, model))
        grown, stayed = (after != 0) & (initial == 0), (after != 0) & (initial != 0)
        assert torch.equal(after[grown], before[grown])
        assert torch.equal(after[stayed], initial[stayed])
        grown_at_all += int(grown.sum())
    assert grown_at_all > 0


def test_what_a_method_notes_is_recorded_and_shown_up_to_a_number() -> None:
    shown: list[str] = []
    found = solved(Recipe(HALF, Shifting()), layers=2, on_note=shown.append)
    noted = {layer: note for one in found for layer, note in one.notes.items()}
    assert noted == dict.fromkeys([r.layer for one in found for r in one.records], "a note")
    assert shown[:7] == [f"{layer}: a note" for layer in LAYERS]
    assert shown[7:] == ["model.layers.1.self_attn.q_proj: a note; further notes: result.json"]


@dataclass(frozen=True)
class Failing(Shifting):
    """A pruner that runs into a singular matrix."""

    def __call__(self, *_: object) -> Initial:
        raise ArithmeticError("its matrix is singular")


def test_a_number_that_cannot_be_worked_out_names_the_layer() -> None:
    with pytest.raises(RunError, match=rf"^{LAYERS[0]}: its matrix is singular$"):
        solved(Recipe(HALF, Failing()))


@dataclass(frozen=True)
class Setting:
    """A reconstructor that sets every kept weight."""

    needs: ClassVar[Needs] = frozenset()
    rows: ClassVar[Rows] = "independent"
    value: float = 1.0

    def __call__(
        self, dense: Tensor, sparse: Tensor, mask: Tensor, statistics: InputStatistics | None
    ) -> Tensor:
        assert torch.equal(sparse, dense.masked_fill(~mask, 0))
        return mask * torch.tensor(self.value)


def test_the_reconstructor_has_the_last_word() -> None:
    model = build("llama", num_hidden_layers=1)
    recipe = Recipe(HALF, Magnitude(), reconstructor=Setting(0.25))
    walked(model, [tokens(2, 8)], BlockSolver(recipe, dict.fromkeys(names(model), HALF)))
    for layer in LAYERS:
        assert model.get_submodule(layer).weight.unique().tolist() == [0, 0.25]


@pytest.mark.parametrize("refiner", [None, DSnoT(max_cycles=3), DSnoT(max_cycles="auto")], ids=str)
def test_the_record_of_a_reconstructed_layer_is_that_of_its_final_weights(
    refiner: DSnoT | None,
) -> None:
    recipe = Recipe(HALF, Wanda(), refiner, relative_error="true")
    (plain,), (found,) = solved(recipe), solved(replace(recipe, reconstructor=LeastSquares()))
    assert not differing(plain, found)
    model = build("llama", num_hidden_layers=1)
    names = [layer.removeprefix("model.layers.0.") for layer in LAYERS]
    dense = {name: model.model.layers[0].get_submodule(name).weight.clone() for name in names}
    watch = Watch(recipe.needs)
    batches = [tokens(4, 16, seed=s) for s in (1, 2)]
    walked(model, batches, watch)
    block = BlockSolver(replace(recipe, reconstructor=LeastSquares()), dict.fromkeys(LAYERS, HALF))
    walked(model, batches, block)
    for name, one, before in zip(names, found.records, plain.records, strict=True):
        lost = dense[name] - model.model.layers[0].get_submodule(name).weight
        statistics = watch.seen["model.layers.0"][name]
        expected = (lost @ (statistics.sequence_length * statistics.mean)).abs().mean()
        assert one.expected_after == pytest.approx(float(expected), rel=1e-3, abs=1e-4)
        assert one.expected_before == before.expected_before
        assert one.relative_before == before.relative_before
        assert one.relative_after < before.relative_after
        assert one.swaps == before.swaps


@pytest.mark.parametrize("refiner", [Swaps(), None], ids=["refine", "reconstruct"])
def test_a_solve_that_fails_names_the_layer(refiner: Swaps | None) -> None:
    name = "mlp.down_proj"
    reconstructor = ConjugateGradients() if refiner is None else Keep()
    recipe = replace(PLAIN, refiner=refiner, reconstructor=reconstructor)
    ones, gram = torch.ones(8), torch.eye(8)
    gram[2, 3] = float("nan")
    seen = InputStatistics(1, 99, ones, ones, ones, ones, unit_gram=gram, unit=ones)
    with pytest.raises(RunError, match=rf"^{name}: its .* NaN or infinity; (raise|try) "):
        solve(BlockSolver(recipe, {name: HALF}).layer(Solved(), name, name), torch.rand(4, 8), seen)


def test_a_starved_expert_is_not_reconstructed() -> None:
    name = "mlp.experts.1.down_proj"
    recipe = replace(PLAIN, refiner=DSnoT(), reconstructor=ConjugateGradients())
    block, found = BlockSolver(recipe, {name: HALF}), Solved()
    weight = torch.rand(4, 8)
    _, sparse, kept = solve(block.layer(found, name, name), weight, None)
    assert torch.equal(sparse, weight * kept)
    assert found.notes[name].endswith("pruned by magnitude, not refined or reconstructed")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_name_the_layer(value: float) -> None:
    with pytest.raises(RunError, match=rf"^{LAYERS[0]}: its weights hold NaN or infinity"):
        solved(Recipe(HALF, Magnitude(), reconstructor=Setting(value)))


class Greedy(Idle):
    """A refiner that keeps one weight too many in the first row."""

    def __call__(self, weight: Tensor, initial: Initial, *rest: Any) -> Refined:
        kept = initial.mask.clone()
        kept[0, int((~kept[0]).nonzero()[0])] = True
        return replace(super().__call__(weight, initial, *rest), mask=kept)


@pytest.mark.parametrize("pattern", [HALF, NM(2, 4)], ids=str)
def test_a_refiner_that_changes_a_budget_is_stopped(pattern: Pattern) -> None:
    with pytest.raises(AssertionError, match="budget"):
        solved(Recipe(pattern, Wanda(), Greedy()))


def draws(seed: int) -> list[int]:
    solved(replace(PLAIN, refiner=(refiner := Idle()), seed=seed), layers=2)
    return refiner.drawn


def test_every_layer_draws_its_own_numbers_and_the_same_every_time() -> None:
    first = draws(0)
    assert len(set(first)) == len(first) == 14
    assert draws(0) == first
    assert not set(draws(1)) & set(first)


def test_a_refiner_asks_for_rows_of_equal_budget() -> None:
    """Magnitude takes its threshold over the matrix, unless a refiner follows."""
    budgets = []
    for refiner in (None, Idle()):
        (found,) = solved(Recipe(HALF, Magnitude(), refiner))
        kept = np.unpackbits(np.frombuffer(mask(found, LAYERS[0]), dtype=np.uint8))
        budgets.append(set(kept.reshape(32, 32).sum(1).tolist()))
    assert len(budgets[0]) > 1
    assert budgets[1] == {16}


def test_every_layer_has_the_pattern_of_its_own() -> None:
    def denser_outwards(layers: list[str], pattern: Pattern) -> dict[str, Pattern]:
        return {n: Unstructured(0.25) if n == LAYERS[2] else pattern for n in layers}

    (found,) = solved(replace(PLAIN, allocator=denser_outwards))
    sparsity = {r.layer: r.zeros / r.weights for r in found.records}
    assert sparsity == dict.fromkeys(LAYERS, 0.5) | {LAYERS[2]: 0.25}


def test_the_phases_are_timed_and_the_layers_told() -> None:
    told: list[str] = []
    timed: list[str] = []

    def phase(name: str) -> AbstractContextManager[None]:
        timed.append(name)
        return nullcontext()

    solved(replace(PLAIN, refiner=Idle()), timed=phase, on_layer=told.append)
    assert told == LAYERS
    assert timed == ["prune", "refine", "reconstruct"] * len(LAYERS)


def solve(
    layer: LayerSolver, weight: torch.Tensor, statistics: InputStatistics | None
) -> tuple[LayerRecord, torch.Tensor, torch.Tensor]:
    """The record, the sparse weight and the mask of one layer."""
    layer.start(weight, statistics)
    return layer.finish(layer.refine(layer.recipe.refiner))


@pytest.mark.parametrize(
    ("tokens_seen", "starved"), [(None, True), (31, True), (32, False), (33, False)]
)
def test_an_expert_needs_a_number_of_tokens(tokens_seen: int | None, starved: bool) -> None:
    layer = "model.layers.0.mlp.experts.1.down_proj"
    recipe = replace(PLAIN, refiner=DSnoT(), min_tokens=32)
    block, found = BlockSolver(recipe, {layer: HALF}), Solved()
    solver = block.layer(found, "mlp.experts.1.down_proj", layer)
    ones, weight = torch.ones(8), torch.randn(4, 8, generator=torch.Generator().manual_seed(0))
    seen = None
    if tokens_seen is not None:
        norm = torch.arange(8, 0, -1.0) ** 4
        seen = InputStatistics(2, tokens_seen, ones, ones, ones, norm)
    record, _, kept = solve(solver, weight, seen)
    assert (layer in found.notes) == starved
    assert (record.expected_before is None) == starved
    assert torch.equal(kept, HALF.mask(weight.abs())) == starved
    if starved:
        assert f"{tokens_seen or 0}" in found.notes[layer]


@pytest.mark.parametrize("refiner", [None, DSnoT()], ids=["alone", "before a refiner"])
def test_a_starved_expert_is_pruned_row_by_row_and_never_refined(refiner: DSnoT | None) -> None:
    name = "mlp.experts.1.down_proj"
    block, found = BlockSolver(replace(PLAIN, refiner=refiner), {name: HALF}), Solved()
    weight = torch.rand(4, 8) + torch.arange(4.0)[:, None]
    _, _, kept = solve(block.layer(found, name, name), weight, None)
    assert kept.sum(1).tolist() == [4] * 4
    assert ("not refined" in found.notes[name]) == (refiner is not None)


def test_an_expert_is_not_starved_where_no_method_asks_for_tokens() -> None:
    name = "mlp.experts.1.down_proj"
    block, found = BlockSolver(Recipe(HALF, Magnitude()), {name: HALF}), Solved()
    solve(block.layer(found, name, name), torch.rand(4, 8), None)
    assert found.notes == {}


def test_a_layer_that_is_no_expert_is_never_starved() -> None:
    layer = "model.layers.0.mlp.down_proj"
    found, ones = Solved(), torch.ones(8)
    solver = BlockSolver(PLAIN, {layer: HALF}).layer(found, "mlp.down_proj", layer)
    record, _, _ = solve(solver, torch.rand(4, 8), InputStatistics(1, 1, ones, ones, ones, ones))
    assert record.expected_before is not None
    assert found.notes == {}


def test_methods_that_need_nothing_collect_nothing() -> None:
    assert Recipe(HALF, Magnitude()).needs == frozenset()
    (found,) = solved(Recipe(HALF, Magnitude()))
    assert {r.expected_before for r in found.records} == {None}


@pytest.mark.parametrize(
    ("how", "more"),
    [("sample", {Statistic.SAMPLE}), ("true", {Statistic.GRAM}), ("false", set())],
)
def test_a_recipe_collects_what_its_methods_and_its_record_need(
    how: str, more: set[Statistic]
) -> None:
    recipe = replace(PLAIN, relative_error=how)
    assert recipe.needs == {Statistic.NORM, Statistic.MEAN} | more
    refining = replace(recipe, pruner=Magnitude(), refiner=DSnoT())
    assert refining.needs == {Statistic.NORM, Statistic.MEAN, Statistic.VAR} | more
    assert replace(recipe, pruner=SparseGPT()).needs == recipe.needs | {Statistic.GRAM}


@pytest.mark.parametrize("refiner", [DSnoT(guard=True), Swaps(guard=True), Moments(max_swaps=9)])
def test_the_guard_depends_on_what_methods_need_alone(refiner: Any) -> None:
    recipe = replace(PLAIN, refiner=refiner)
    gram, raw, sample = Statistic.NORMALISED, Statistic.GRAM, Statistic.SAMPLE
    assert recipe.guarded_with == (gram if isinstance(refiner, Swaps) else sample)
    assert recipe.guarded_with in replace(recipe, relative_error="false").needs
    assert replace(recipe, pruner=SparseGPT()).guarded_with in (raw, gram)
    assert replace(recipe, reconstructor=ConjugateGradients()).guarded_with == gram
    found = [solved(replace(recipe, relative_error=how))[0] for how in ("sample", "true", "false")]
    assert not differing(found[0], found[1])
    assert not differing(found[0], found[2])
    unguarded = solved(replace(recipe, refiner=replace(refiner, guard=False)))[0]
    assert bool(differing(found[0], unguarded)) == (not isinstance(refiner, Swaps))


@pytest.mark.parametrize("refiner", [None, DSnoT(), Moments(max_swaps=2), Swaps()], ids=str)
@pytest.mark.parametrize("pattern", [HALF, NM(2, 4)], ids=str)
def test_budgets_are_kept_to_the_weight(refiner: Any, pattern: Pattern) -> None:
    recipe = Recipe(pattern, Wanda(), refiner, LeastSquares())
    (found,) = solved(recipe)
    assert all(record.zeros == record.weights // 2 for record in found.records)


def together(method: Any) -> Any:
    """The same method, which now looks at all rows."""
    return type("Together", (type(method),), {"rows": "together"})()


@pytest.mark.parametrize(
    "change",
    [
        lambda recipe: replace(recipe, pruner=together(Wanda())),
        lambda recipe: replace(recipe, refiner=DSnoT(grow="random")),
        lambda recipe: replace(recipe, refiner=DSnoT(prune="random")),
        lambda recipe: replace(recipe, reconstructor=together(Setting())),
    ],
    ids=["pruner", "grow=random", "prune=random", "reconstructor"],
)
def test_rows_are_shared_out_unless_a_method_looks_at_them_together(
    change: Callable[[Recipe], Recipe],
) -> None:
    independent = replace(PLAIN, refiner=DSnoT())
    for recipe, shared in ((independent, True), (change(independent), False)):
        assert recipe.rows_independent == shared
        block = BlockSolver(recipe, {LAYERS[0]: HALF}, ranks=Ranks(1, 2))
        assert block.layer(Solved(), "q", LAYERS[0]).ranks.size == (2 if shared else 1)


def test_a_recipe_has_the_defaults_of_the_command_line() -> None:
    config = Config(prune={"name": "wanda"})
    assert PLAIN.relative_error == config.relative_error
    assert PLAIN.min_tokens == config.calib.min_tokens
    assert PLAIN.seed == config.seed
    assert list(Placed.dense) == config.model.dense  # the class attribute: its default


def test_the_baseline_of_a_recipe_is_its_initializer_alone() -> None:
    recipe = Recipe(HALF, Wanda(), DSnoT(), Setting(), relative_error="true", seed=3)
    alone = recipe.initializer_only()
    assert alone == Recipe(HALF, Wanda(), relative_error="true", seed=3)
