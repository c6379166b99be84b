"""The walker against the models' own forwards, and its statistics against direct ones."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import nn

from dsnot_exp.methods import statistics
from dsnot_exp.methods.patterns import Unstructured
from dsnot_exp.methods.protocols import Needs
from dsnot_exp.methods.prune.sparsegpt import SparseGPT
from dsnot_exp.methods.statistics import Accumulator
from dsnot_exp.models.blocks import find_blocks
from dsnot_exp.models.linears import linears
from dsnot_exp.utils.errors import RequestError, RunError
from dsnot_exp.walk.loop import walk
from dsnot_exp.walk.sequences import Sequences
from dsnot_exp.walk.view import BlockView
from tests.support.families import EAGER_ONLY, FAMILIES, build, tokens
from tests.support.walking import GRAM, MOMENTS, SAMPLE, Watch, walked


def last_block_output(model: nn.Module, blocks: nn.ModuleList, ids: torch.Tensor) -> torch.Tensor:
    """What the model's own forward makes of its last block."""
    outputs: list = []
    handle = blocks[-1].register_forward_hook(lambda m, a, out: outputs.append(out))
    model(input_ids=ids, use_cache=False)
    handle.remove()
    return outputs[0][0] if isinstance(outputs[0], tuple) else outputs[0]


CASES = [(f, a) for f in FAMILIES for a in ("sdpa", "eager") if a == "eager" or f not in EAGER_ONLY]


@pytest.mark.parametrize(("family", "attention"), CASES)
def test_walking_equals_the_models_own_forward(family: str, attention: str) -> None:
    model = build(family, attention)
    batches = [tokens(2, 20, seed=1), tokens(1, 20, seed=2)]
    blocks = find_blocks(model)[1]
    outputs = walked(model, batches, Watch(MOMENTS))
    for ids, output in zip(batches, outputs, strict=True):
        expected = last_block_output(model, blocks, ids)
        torch.testing.assert_close(output, expected, rtol=1e-5, atol=1e-5)


def counted(model: nn.Module, path: str) -> list[int]:
    """How often each block has called what lies at `path` in it, from now on."""
    blocks = find_blocks(model)[1]
    counts = [0] * len(blocks)
    for index, block in enumerate(blocks):

        def count(*_: object, index: int = index) -> None:
            counts[index] += 1

        block.get_submodule(path).register_forward_hook(count)
    return counts


def test_blocks_run_twice_per_batch_and_skip_unneeded_work() -> None:
    """One more run per class to learn what it returns. The last block's outputs are needed by
    nobody, and what its last linear makes of its inputs by no statistic: only the first forward
    runs to its end, which tells which linear is the last."""
    model = build("llama")
    attention, last = counted(model, "self_attn"), counted(model, "mlp.down_proj")
    batches = [tokens(2, 8, seed=s) for s in range(4)]
    walk(Sequences(model, find_blocks(model), batches), Watch(MOMENTS))
    assert attention == [1 + 4 + 4, 4 + 4, 4]
    assert last == [1 + 1 + 4, 4, 0]


def test_without_statistics_a_block_runs_once_per_batch() -> None:
    model = build("llama")
    attention = counted(model, "self_attn")
    batches = [tokens(2, 8), tokens(2, 8)]
    walk(Sequences(model, find_blocks(model), batches), Watch())
    assert attention == [1 + 2, 2, 0]


@pytest.mark.parametrize("family", ["llama-gqa", "opt", "gpt2", "falcon", "phi3", "mixtral"])
def test_statistics_of_every_linear_are_those_of_its_own_input(family: str) -> None:
    model, inputs, handles = build(family), {}, []
    name, blocks = find_blocks(model)
    for index, block in enumerate(blocks):
        for linear, matrix in linears(block, ["mlp.experts"]).items():
            key = f"{name}.{index}.{linear}"

            def keep(_: object, args: tuple, key: str = key) -> None:
                inputs.setdefault(key, []).append(args[0].reshape(2, 10, -1).clone())

            handles.append(matrix.module.register_forward_pre_hook(keep))
    batches = [tokens(2, 10, seed=1), tokens(2, 10, seed=2)]
    for ids in batches:
        model(input_ids=ids, use_cache=False)
    for handle in handles:
        handle.remove()
    watch = Watch(MOMENTS | {GRAM})
    walked(model, batches, watch, ["mlp.experts"])
    for index in range(len(blocks)):
        for linear, found in watch.seen[f"{name}.{index}"].items():
            x = torch.cat(inputs[f"{name}.{index}.{linear}"])
            torch.testing.assert_close(found.mean, x.mean((0, 1)), rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(found.var, x.var((0, 1), correction=0), rtol=1e-4, atol=1e-5)
            flat = x.flatten(0, 1)
            torch.testing.assert_close(found.gram, flat.T @ flat / 40, rtol=1e-4, atol=1e-4)


def test_each_distinct_input_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = []
    update = Accumulator.update
    monkeypatch.setattr(
        Accumulator, "update", lambda self, x, n: (counted.append(x.shape), update(self, x, n))
    )
    model = build("llama")
    walked(model, [tokens(1, 8)], Watch(MOMENTS))
    assert len(counted) == 3 * 4  # qkv, o, gate and up, down


def test_each_sequence_of_each_distinct_input_goes_into_a_gram_matrix_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counted, add = [], statistics.add_gram
    monkeypatch.setattr(statistics, "add_gram", lambda g, x: (counted.extend(x), add(g, x)))
    model = build("llama")
    batches = [tokens(2, 8, seed=s) for s in range(3)]
    walked(model, batches, Watch(frozenset({GRAM, SAMPLE})))
    assert len(counted) == 3 * 4 * 6  # blocks, distinct inputs, sequences
    walked(model, batches, Watch(MOMENTS | {SAMPLE}))
    assert len(counted) == 3 * 4 * 6


def test_one_factorisation_per_input(monkeypatch: pytest.MonkeyPatch) -> None:
    counted, real = [], torch.linalg.cholesky_ex
    monkeypatch.setattr(torch.linalg, "cholesky_ex", lambda m: (counted.append(1), real(m))[1])

    @dataclass
    class Surgeon(Watch):
        needs: Needs = SparseGPT.needs

        def __call__(self, view: BlockView) -> None:
            statistics = view.statistics(self.needs)
            for name, linear in view.linears.items():
                SparseGPT()(linear.weight, statistics[name], Unstructured(0.5), False)

    model = build("llama")
    walked(model, [tokens(2, 8, seed=s) for s in range(3)], Surgeon())
    assert len(counted) == 3 * 4


@pytest.mark.parametrize("family", ["llama", "opt", "mixtral"])
def test_the_sample_depends_on_no_batch_size(family: str) -> None:
    ids, seen = tokens(6, 50), []
    for size in (1, 4, 6):
        model, watch = build(family), Watch(frozenset({SAMPLE}))
        walked(model, list(ids.split(size)), watch)
        seen.append(watch.seen)
    for name, found in seen[0].items():
        for linear, one in found.items():
            if ".experts." in linear:
                assert 0 < len(one.sample) <= one.tokens
                continue
            assert one.sample.shape[0] == 6 * 22  # 128 tokens at least, of six sequences
            for other in seen[1:]:
                torch.testing.assert_close(one.sample, other[name][linear].sample)


def test_the_next_block_sees_the_sparse_one() -> None:
    class Zero(Watch):
        def __call__(self, view: BlockView) -> None:
            super().__call__(view)
            for linear in view.linears.values():
                linear.write(torch.zeros_like(linear.weight))

    model, sparse = build("llama"), build("llama")
    ids = tokens(2, 12)
    walked(model, [ids], zero := Zero(MOMENTS))
    for linear in linears(sparse.model.layers[0]).values():
        linear.weight.zero_()
    walked(sparse, [ids], watch := Watch(MOMENTS))
    first = "self_attn.q_proj"
    for name in ("model.layers.0", "model.layers.1"):
        assert torch.equal(zero.seen[name][first].mean, watch.seen[name][first].mean)


def test_hooks_and_forwards_are_gone_afterwards() -> None:
    model = build("llama")
    walked(model, [tokens(1, 8)], Watch(MOMENTS))
    for module in model.modules():
        assert not module._forward_pre_hooks
        assert "forward" not in module.__dict__


def test_nan_activations_name_the_layer() -> None:
    model = build("llama")
    model.model.layers[1].input_layernorm.weight.fill_(torch.nan)
    with pytest.raises(RunError, match=r"model\.layers\.1\.self_attn\.q_proj.*NaN"):
        walked(model, [tokens(1, 8)], Watch(MOMENTS))


def test_a_model_without_known_blocks_is_refused_by_name_with_the_remedy() -> None:
    model = build("llama")
    model._no_split_modules = set()
    with pytest.raises(RequestError, match=r"LlamaForCausalLM.*model\.blocks=.*model\.layers"):
        find_blocks(model)
    assert find_blocks(model, "model.layers")[0] == "model.layers"
    with pytest.raises(RequestError, match=r"model\.blocks=model\.towers"):
        find_blocks(model, "model.towers")
