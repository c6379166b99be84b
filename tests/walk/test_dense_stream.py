"""The dense stream beside the sparse one, against full forwards of both models."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dsnot_exp.methods.statistics import Statistic
from dsnot_exp.models.blocks import find_blocks
from dsnot_exp.models.linears import is_routed, linears
from dsnot_exp.utils.distributed import Ranks
from dsnot_exp.walk.hidden_states import States
from dsnot_exp.walk.loop import walk
from dsnot_exp.walk.residual import Writers
from dsnot_exp.walk.sequences import DENSE, Sequences
from dsnot_exp.walk.view import BlockView
from tests.support.families import FAMILIES, build, tokens
from tests.support.ranks import in_processes

BOTH = frozenset({Statistic.DRIFT, Statistic.RESIDUAL_DRIFT, Statistic.MEAN})
# The linears whose outputs are added to the residual stream as they are.
WRITERS = {
    "llama": {"self_attn.o_proj", "mlp.down_proj"},
    "opt": {"self_attn.out_proj", "fc2"},
    "gpt2": {"attn.c_proj", "mlp.c_proj"},
    "bloom": {"self_attention.dense", "mlp.dense_4h_to_h"},
    "phi3": {"self_attn.o_proj", "mlp.down_proj"},
    "mixtral": {"self_attn.o_proj"},  # the sum over experts is added, not one expert's output
    "gemma2": set(),  # a norm comes between
    "gpt_neox": set(),  # attention and MLP are added to each other first
}


class Halved:
    """Halves every second input of each linear, which makes the streams differ."""

    def __init__(self, needs: frozenset[Statistic] = BOTH) -> None:
        self.needs, self.seen = needs, {}  # type: ignore[var-annotated]

    def __call__(self, view: BlockView) -> None:
        for name, found in view.statistics(self.needs).items():
            self.seen[f"{view.name}.{name}"] = found
        for linear in view.linears.values():
            linear.write(halved(linear.weight))


def halved(weight: Tensor) -> Tensor:
    """(out, in)"""
    sparse = weight.clone()
    sparse[:, ::2] *= 0.5
    return sparse


def both(model: nn.Module, batches: list[Tensor], solver: Any, **options: Any) -> Sequences:
    states = [States(torch.device("cpu"), **options) for _ in range(2)]
    sequences = Sequences(model, find_blocks(model), list(batches), states[0], dense=states[1])
    walk(sequences, solver)
    return sequences


def inputs_of(model: nn.Module, batches: list[Tensor], block: int) -> dict[str, Tensor]:
    """The inputs of each linear of a block, (tokens, in), and of the norms' own inputs, which are
    the residual stream."""
    found: dict[str, list[Tensor]] = {}
    module, handles = find_blocks(model)[1][block], []
    for name, part in module.named_modules():

        def keep(_: object, args: tuple, name: str = name) -> None:
            if args and isinstance(args[0], Tensor):
                found.setdefault(name, []).append(args[0].flatten(0, -2).double())

        handles.append(part.register_forward_pre_hook(keep))
    with torch.no_grad():
        for ids in batches:
            model(input_ids=ids, use_cache=False)
    for handle in handles:
        handle.remove()
    return {name: torch.cat(parts) for name, parts in found.items()}


def two_models(family: str) -> tuple[nn.Module, nn.Module]:
    """A model, and the same with its first two blocks halved."""
    model = build(family)
    sparse = deepcopy(model)
    for block in find_blocks(sparse)[1][:2]:
        for linear in linears(block).values():
            linear.write(halved(linear.weight))
    return model, sparse


@pytest.mark.parametrize("family", ["llama", "opt", "gpt2"])
def test_drifts_are_those_of_two_full_forwards(family: str) -> None:
    batches = [tokens(2, 10, seed=1), tokens(3, 10, seed=2)]
    model, sparse = two_models(family)
    dense_inputs, inputs = (inputs_of(one, batches, 2) for one in (model, sparse))
    solver = Halved()
    both(model, batches, solver)
    for name, found in solver.seen.items():
        if ".2." not in name:
            continue
        linear = name.split(".2.")[1]
        ours, theirs = inputs[linear], dense_inputs[linear]
        wanted = (theirs - ours).T @ ours / len(ours)
        torch.testing.assert_close(found.drift.double(), wanted, rtol=1e-3, atol=1e-5)
    first, second = {
        "llama": ("input_layernorm", "post_attention_layernorm"),
        "opt": ("self_attn_layer_norm", "final_layer_norm"),
        "gpt2": ("ln_1", "ln_2"),
    }[family]
    writers = sorted(WRITERS[family], key=lambda name: "mlp" in name or name == "fc2")
    for linear, norm in zip(writers, (first, second), strict=True):
        drift = dense_inputs[norm] - inputs[norm]
        wanted = drift.T @ inputs[linear] / len(drift)
        (found,) = (f for n, f in solver.seen.items() if n.endswith(f".2.{linear}"))
        torch.testing.assert_close(found.residual_drift.double(), wanted, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("family", WRITERS)
def test_writers_into_the_residual_stream_are_told(family: str) -> None:
    solver = Halved()
    both(build(family), [tokens(2, 8)], solver)
    told = [name for name, found in solver.seen.items() if found.residual_drift is not None]
    assert {name.split(".1.")[1] for name in told if ".1." in name} == WRITERS[family]


@pytest.mark.parametrize("family", FAMILIES)
def test_in_every_family_inputs_are_paired_but_for_experts(family: str) -> None:
    solver = Halved()
    both(build(family), [tokens(2, 8)], solver)
    without = {name for name, found in solver.seen.items() if found.drift is None}
    assert all(is_routed(name) for name in without)
    assert solver.seen


def test_the_dense_stream_is_the_dense_model_and_costs_one_forward() -> None:
    model = build("llama")
    batches = [tokens(2, 8, seed=1), tokens(1, 8, seed=2)]
    with torch.no_grad():
        hidden = [
            model(input_ids=ids, output_hidden_states=True, use_cache=False).hidden_states
            for ids in batches
        ]
    runs = [0, 0, 0]
    for index, block in enumerate(find_blocks(model)[1]):
        block.mlp.register_forward_pre_hook(
            lambda *_, index=index: runs.__setitem__(index, runs[index] + 1)
        )
    sequences = both(model, batches, Halved())
    # one more run of the first block to learn what its class returns; the last block's sparse
    # outputs are not computed
    assert runs == [1 + 3 * 2, 3 * 2, 2 * 2]
    for stream, states in zip(sequences.streams[DENSE], hidden, strict=True):
        torch.testing.assert_close(model.model.norm(stream), states[-1])


def test_without_it_statistics_are_the_same_to_the_bit() -> None:
    needs = frozenset({Statistic.MEAN, Statistic.NORM, Statistic.GRAM})
    batches = [tokens(2, 8, seed=1)]
    alone = Halved(needs)
    model = build("llama")
    walk(Sequences(model, find_blocks(model), list(batches)), alone)
    beside = Halved(needs | BOTH)
    both(build("llama"), batches, beside)
    for name, found in alone.seen.items():
        assert torch.equal(found.gram, beside.seen[name].gram)
        assert torch.equal(found.mean, beside.seen[name].mean)
        assert found.drift is None
        assert found.residual_drift is None


@pytest.mark.parametrize("family", ["llama", "mixtral"])
def test_two_processes_find_the_drifts_of_one(family: str) -> None:
    ids, alone, whole = tokens(5, 10, seed=1), Halved(), build(family)
    models = [deepcopy(whole) for _ in range(2)]
    both(whole, [ids], alone)

    def share(ranks: Ranks) -> Halved:
        solver, model = Halved(), models[ranks.rank]
        batches, states = [ids[ranks.share(len(ids))]], States(torch.device("cpu"))
        blocks = find_blocks(model)
        walk(Sequences(model, blocks, batches, dense=states), solver, ranks=ranks)
        return solver

    for found in in_processes(2, share):
        for name, expected in alone.seen.items():
            for part in ("drift", "residual_drift"):
                ours, wanted = getattr(found.seen[name], part), getattr(expected, part)
                assert (ours is None) == (wanted is None), name
                if wanted is not None:
                    torch.testing.assert_close(ours, wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("place", ["memory", "disk"])
def test_out_of_memory_begins_the_block_anew(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    batches = [tokens(4, 8, seed=1), tokens(4, 8, seed=2)]
    whole, again = Halved(), Halved()
    both(build("llama"), batches, whole, place=place)
    model, left = build("llama"), [True]
    block = find_blocks(model)[1][1]

    def fail(*_: object) -> None:
        if left and len(again.seen) == 7:  # the second block's statistics
            calls.append(1)
            if len(calls) == 4:  # the second micro-batch of the sparse stream
                left.clear()
                raise torch.OutOfMemoryError

    calls: list[int] = []
    block.register_forward_pre_hook(fail)
    both(model, batches, again, place=place)
    assert not left
    for name, found in whole.seen.items():
        for part in ("drift", "residual_drift"):
            wanted, got = getattr(found, part), getattr(again.seen[name], part)
            assert (wanted is None) == (got is None)
            if wanted is not None:
                torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-6)


class Twice(nn.Module):
    """`one` is called twice; `scaled` writes after a factor; `plus` in place."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.scaled, self.plus = (nn.Linear(4, 4) for _ in range(3))

    def forward(self, hidden: Tensor) -> Tensor:
        hidden = hidden + self.one(hidden)
        hidden = hidden + self.one(hidden)
        hidden = hidden + 0.5 * self.scaled(hidden)
        hidden = self.plus(hidden).add_(hidden)
        return hidden


def test_only_what_is_added_as_it_is_is_told() -> None:
    block = Twice()
    writers, hidden = Writers(linears(block)), torch.randn(1, 3, 4)
    with torch.no_grad(), writers.watch(hidden):
        block(hidden)
    assert set(writers.streams()) == {"plus"}
