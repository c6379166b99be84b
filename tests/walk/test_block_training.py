"""The kept weights of a block are trained against the dense model's outputs."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from dsnot_exp.methods.block_protocols import Fit, Trainable, Training
from dsnot_exp.methods.patterns import NM, Unstructured
from dsnot_exp.methods.prune.magnitude import Magnitude
from dsnot_exp.methods.prune.sparsegpt import SparseGPT
from dsnot_exp.methods.prune.wanda import Wanda
from dsnot_exp.methods.reconstruct.block import Block, loss
from dsnot_exp.methods.refine.dsnot.method import DSnoT
from dsnot_exp.models.blocks import find_blocks
from dsnot_exp.models.linears import linears
from dsnot_exp.models.placement import Placed, place
from dsnot_exp.run import room
from dsnot_exp.run.plan import make_plan
from dsnot_exp.run.prepare import prepare
from dsnot_exp.utils.distributed import Ranks
from dsnot_exp.utils.errors import RequestError, RunError
from dsnot_exp.walk.block_training import micro_batch
from dsnot_exp.walk.choose import output_error
from dsnot_exp.walk.journal import Journal
from dsnot_exp.walk.recipe import Recipe
from dsnot_exp.walk.sparsified import Sparsified
from dsnot_exp.walk.sparsify import sparsify
from tests.support.command import Command, toy_arguments
from tests.support.families import FAMILIES, build, tokens
from tests.support.ranks import in_processes
from tests.support.runs import wanda_dsnot
from tests.support.waiting import until

HALF = Unstructured(0.5)
IDS, HELD_OUT = tokens(7, 20, seed=1), tokens(2, 20, seed=2)
METHOD = Block(epochs=3, lr=0.01, batch=4, patience=3)
TRAINED = Recipe(HALF, Wanda(), block_reconstructor=METHOD, min_tokens=4)


def placed(family: str = "llama", layers: int = 2) -> Placed:
    name = "n_layer" if family == "gpt2" else "num_hidden_layers"
    kinds = {k: v[:layers] for k, v in FAMILIES[family].items() if k == "layer_types"}
    model = build(family, **{name: layers}, **kinds)
    return place(model, find_blocks(model), torch.device("cpu"))


def trained(model: Placed, recipe: Recipe = TRAINED, **options: Any) -> Sparsified:
    return sparsify(model, IDS, recipe, held_out=HELD_OUT, **options)


def parameters(model: Placed) -> dict[str, Tensor]:
    return {name: p.data.clone() for name, p in model.model.named_parameters()}


def outputs(model: Placed, ids: Tensor, block: int) -> Tensor:
    """What a block of the whole model makes of `ids`."""
    seen: list[Tensor] = []

    def keep(module: Any, args: Any, result: Any) -> None:
        seen.append(result[0] if isinstance(result, tuple) else result)

    handle = model.blocks[1][block].register_forward_hook(keep)
    with torch.no_grad():
        model.model(input_ids=ids)
    handle.remove()
    return seen[0]


@pytest.mark.parametrize(
    ("family", "recipe"),
    [
        ("llama", TRAINED),
        ("llama", replace(TRAINED, pattern=NM(2, 4), pruner=SparseGPT())),
        ("llama", replace(TRAINED, pruner=Magnitude(), relative_error="true")),
        ("gpt2", replace(TRAINED, refiner=DSnoT(max_cycles="auto", update_threshold=0))),
        ("gpt_neox", TRAINED),
        ("mixtral", TRAINED),
        ("gpt_oss", TRAINED),
    ],
    ids=["llama", "2:4", "magnitude", "transposed", "parallel", "experts", "transposed experts"],
)
def test_the_output_comes_nearer_to_the_dense_models_under_the_same_mask(
    family: str, recipe: Recipe
) -> None:
    dense, alone, model = placed(family), placed(family), placed(family)
    before = parameters(dense)
    sparsify(alone, IDS, replace(recipe, block_reconstructor=None), held_out=HELD_OUT)
    found = trained(model, recipe)
    first, second = found.fits
    names = [f"{dense.blocks[0]}.{index}" for index in range(2)]
    assert [first.block, second.block] == names
    # Of the first block both walks choose the same mask; then they part.
    assert first.error_after < first.error_before
    for index, fit in enumerate(found.fits):
        wanted = outputs(dense, HELD_OUT, index)
        assert fit.error_after <= fit.error_before
        ours = output_error(outputs(model, HELD_OUT, index), wanted, Ranks())
        assert fit.error_after == pytest.approx(ours, rel=1e-4)
    wanted = outputs(dense, HELD_OUT, 0)
    start = output_error(outputs(alone, HELD_OUT, 0), wanted, Ranks())
    assert first.error_before == pytest.approx(start, rel=1e-4)
    for linear, untrained in zip(
        linears(model.blocks[1][0]).values(), linears(alone.blocks[1][0]).values(), strict=True
    ):
        assert torch.equal(linear.weight == 0, untrained.weight == 0)
    changed = {id(x.parameter) for block in model.blocks[1] for x in linears(block).values()}
    for name, parameter in model.model.named_parameters():
        assert not parameter.requires_grad
        assert parameter.grad is None
        if id(parameter) not in changed:
            assert torch.equal(parameter, before[name]), name


def test_a_layers_errors_are_those_of_the_trained_weights() -> None:
    """Over all tokens, against the layer's own products in the first block."""
    recipe = replace(TRAINED, relative_error="true")
    model, dense = placed(layers=1), placed(layers=1)
    found = trained(model, recipe)
    name = "model.layers.0.mlp.down_proj"
    seen: list[Tensor] = []
    layer = dense.model.get_submodule(name)
    layer.register_forward_pre_hook(lambda _, args: seen.append(args[0].flatten(0, 1)))
    with torch.no_grad():
        dense.model(input_ids=IDS)
    lost = (layer.weight - model.model.get_submodule(name).weight) @ seen[0].T
    error = float(lost.square().sum() / (layer.weight @ seen[0].T).square().sum())
    (record,) = (r for r in found.records if r.layer == name)
    assert record.relative_after == pytest.approx(error, rel=1e-3)
    # of the mean input of 7 sequences of 20 tokens, in units of a sequence's sum
    expected = (lost.sum(1) / 7).abs().mean()
    assert record.expected_after == pytest.approx(float(expected), rel=1e-3)
    assert record.relative_after != record.relative_before


def test_the_same_seed_gives_the_same_weights_and_masks_are_those_without_it() -> None:
    models = [placed(layers=1) for _ in range(4)]
    recipes = [TRAINED, TRAINED, replace(TRAINED, seed=1)]
    found = [trained(m, recipe) for m, recipe in zip(models[:3], recipes, strict=True)]
    alone = sparsify(models[3], IDS, replace(TRAINED, block_reconstructor=None))
    assert {one.masks_sha256 for one in found} == {alone.masks_sha256}
    assert found[0].fits == found[1].fits != found[2].fits
    first, second, other = (parameters(m) for m in models[:3])
    name = "model.layers.0.mlp.down_proj.weight"
    assert torch.equal(first[name], second[name])
    assert not torch.equal(first[name], other[name])


def test_processes_end_with_equal_weights() -> None:
    models = [placed() for _ in range(2)]
    one, other = in_processes(2, lambda r: trained(models[r.rank], ranks=r))
    assert one.fits == other.fits
    assert one.records == other.records
    assert one.fits[0].error_after < one.fits[0].error_before
    ours, theirs = (parameters(m) for m in models)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_out_of_memory_halves_the_forwards_and_not_the_steps() -> None:
    model, cramped = placed(layers=1), placed(layers=1)
    learnt: list[int] = []

    def count(module: object, args: tuple[Tensor, ...]) -> None:
        learnt.extend([len(args[0])] if torch.is_grad_enabled() else [])

    def full(module: object, args: tuple[Tensor, ...]) -> None:
        if torch.is_grad_enabled() and len(args[0]) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")

    model.blocks[1][0].register_forward_pre_hook(count)
    cramped.blocks[1][0].register_forward_pre_hook(full)
    whole = trained(model)
    assert sorted(learnt) == [3] * 3 + [4] * 3  # none of those held out
    found = trained(cramped)
    assert (whole.batch, found.batch) == (4, 1)
    assert found.fits[0].error_after == pytest.approx(whole.fits[0].error_after, rel=1e-4)


def test_a_single_sequence_that_does_not_fit_names_a_remedy() -> None:
    model = placed(layers=1)

    def full(*_: object) -> None:
        if torch.is_grad_enabled():
            raise torch.OutOfMemoryError("CUDA out of memory")

    model.blocks[1][0].register_forward_pre_hook(full)
    with pytest.raises(RunError, match=r"one sequence at a time; .*reconstruct=none"):
        trained(model)


def test_a_loss_that_is_no_number_names_the_block() -> None:
    model = placed(layers=1)
    model.blocks[1][0].register_forward_hook(
        lambda _, args, out: out * float("nan") if torch.is_grad_enabled() else out
    )
    with pytest.raises(RunError, match=r"^model\.layers\.0: the loss is nan .*reconstruct\.lr"):
        trained(model)


@pytest.mark.parametrize(("size", "batch", "found"), [(16, 8, 8), (5, 8, 4), (3, 7, 1), (6, 6, 6)])
def test_a_micro_batch_divides_a_batch(size: int, batch: int, found: int) -> None:
    assert micro_batch(size, batch) == found


class Stopped(BaseException):
    """As sudden as kill -9."""


def test_a_stopped_walk_resumes_with_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(model: Placed) -> tuple[Sparsified, int]:
        journal = Journal(tmp_path, "identity", model, has_dense=True)
        journal.open()
        return trained(model, journal=journal), len(journal.solved)

    model, whole = placed(), placed()
    expected = trained(whole)
    real, calls = Block.train_block, []

    def once(self: Block, *arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise Stopped
        return real(self, *arguments)

    monkeypatch.setattr(Block, "train_block", once)
    with pytest.raises(Stopped):
        run(placed())
    until(lambda: (tmp_path / "00000.json").exists())  # a thread writes it
    found, resumed = run(model)
    assert resumed == 1
    assert found.fits == expected.fits
    assert found.records == expected.records
    ours, theirs = parameters(model), parameters(whole)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_run_records_it(command: Command, tmp_path: Path) -> None:
    words = [*toy_arguments(tmp_path, num_hidden_layers=2), "refine=none", "prune=magnitude"]
    words += ["reconstruct=block", "calib.held_out=2", "calib.samples=6"]
    done = command(*words)
    assert done.code == 0, done.err
    fits = done.result["metrics"]["block_reconstruction"]
    assert [fit["block"] for fit in fits] == ["model.layers.0", "model.layers.1"]
    assert all(fit["error_after"] <= fit["error_before"] for fit in fits)
    assert "blocks    error on held-out tokens" in done.out
    assert done.result["data"]["calibration"]["held_out"] == 2


@pytest.mark.parametrize(("memory", "refused"), [(50_000, True), (400_000, False)])
def test_it_is_refused_without_room_before_the_weights_are_read(
    memory: int, refused: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = dict(word.split("=", 1) for word in toy_arguments(tmp_path))
    config = wanda_dsnot(Path(words["model.path"]), Path(words["calib.dataset"]))
    calib = replace(config.calib, samples=6, seqlen=24)
    config = replace(config, reconstruct={"name": "block"}, calib=calib)
    monkeypatch.setattr(room, "total_memory", lambda device: memory)
    with (
        nullcontext()
        if not refused
        else pytest.raises(
            RequestError,
            match=r"^reconstruct=block: the largest block takes [\d,]+ bytes .* 50,000;",
        )
    ):
        inputs = prepare(make_plan(config))[1]
        assert 0 < inputs.training_bytes < memory


@dataclass(frozen=True)
class Asking(Block):
    """Asks for the gradients of a batch twice, another one in between."""

    def train_block(
        self, layers: Sequence[Trainable], masks: Any, training: Training, *_: object
    ) -> Fit:
        found = []
        for batch in (0, 1, 0):
            training.backward(batch, loss)
            found.append([layer.gradient.clone() for layer in layers])
        for first, between, again in zip(*found, strict=True):
            assert torch.equal(first, again)
            assert not torch.equal(first, between)
        return Fit(0, 0, 0, 0)


def test_gradients_are_those_of_the_batch_alone() -> None:
    trained(placed(layers=1), replace(TRAINED, block_reconstructor=Asking(batch=4)))
