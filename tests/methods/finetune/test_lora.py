"""LoRA under the mask: pruned weights stay zero, the others learn, and nothing else is left."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dsnot_exp.methods.finetune.lora import Lora
from dsnot_exp.models.blocks import find_blocks
from dsnot_exp.models.linears import Linear, linears
from dsnot_exp.utils.errors import RunError
from tests.support.command import Command, masked_weights, toy_arguments
from tests.support.families import build, tokens

QUICK = ["finetune=lora", "finetune.steps=4", "finetune.batch_size=2"]


def sparse(family: str, dtype: torch.dtype = torch.float32) -> tuple[Any, dict[str, Linear]]:
    """A toy with 60 % of its linear layers' weights zero, and these layers by parameter."""
    model = build(family).to(dtype)
    name, blocks = find_blocks(model)
    layers = {
        f"{name}.{index}.{linear}.weight": matrix
        for index, block in enumerate(blocks)
        for linear, matrix in linears(block).items()
    }
    generator = torch.Generator().manual_seed(0)
    for layer in layers.values():
        kept = torch.rand(layer.weight.shape, generator=generator) >= 0.6
        layer.write(layer.weight * kept)
    return model, layers


def state(model: Any) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


FAST = Lora(steps=6, batch_size=4, learning_rate=1e-2)


@pytest.mark.parametrize("family", ["llama", "gpt2", "phi3", "llama-tied", "opt"])
def test_pruned_weights_stay_zero_and_nothing_but_the_pruned_layers_moves(family: str) -> None:
    model, layers = sparse(family)
    before, config = state(model), model.config.to_dict()
    kind, modules = type(model), [name for name, _ in model.named_modules()]
    facts = FAST(model, list(layers), tokens(24, 16), seed=0)
    after = state(model)
    assert after.keys() == before.keys()
    for name in before:
        if name not in layers:
            assert torch.equal(after[name], before[name]), name
            continue
        assert bool((after[name][before[name] == 0] == 0).all()), name
        assert bool((after[name] != before[name])[before[name] != 0].any()), name
    ranks = {name: sum(layer.weight.shape) * FAST.rank for name, layer in layers.items()}
    assert facts["trainable_parameters"] == sum(ranks.values())
    assert facts["steps"] == 6
    assert type(model) is kind
    assert [name for name, _ in model.named_modules()] == modules
    assert model.config.to_dict() == config
    assert not model.training
    assert not hasattr(model, "peft_config")
    assert not any(p.requires_grad for p in model.parameters())


def test_what_is_trained_is_what_is_merged() -> None:
    """The forward of the last step sees the masked delta, not a dense one that merging would cut:
    with a learning rate of almost nothing at the end, the last loss is that of the result."""
    model, layers = sparse("llama")
    row = tokens(1, 32)
    options = Lora(steps=30, batch_size=1, samples=1, learning_rate=1e-2, schedule="cosine")
    facts = options(model, list(layers), row, seed=0)
    with torch.no_grad():
        loss = float(model(input_ids=row, labels=row).loss)
    assert facts["last_loss"] < facts["first_loss"] - 0.2
    assert loss == pytest.approx(facts["last_loss"], abs=2e-2)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_same_seed_gives_the_same_weights_and_leaves_the_global_state(
    checkpointing: bool,
) -> None:
    options = Lora(steps=3, batch_size=2, learning_rate=1e-2, checkpointing=checkpointing)
    states = []
    for seed, globally in ((0, 1), (0, 2), (1, 1)):
        model, layers = sparse("gpt2")  # it has dropout
        for set_seed in (torch.manual_seed, random.seed, np.random.seed):
            set_seed(globally)
        before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
        options(model, list(layers), tokens(6, 16), seed=seed)
        assert torch.equal(torch.get_rng_state(), before[0])
        assert (random.getstate(), np.random.get_state()[1].tolist()) == before[1:]
        states.append(state(model))
    first, again, other = states
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_half_precision_models_have_adapters_in_float32() -> None:
    model, layers = sparse("llama", torch.bfloat16)
    adapted = FAST._adapted(model, list(layers))
    trained = [p for p in adapted.parameters() if p.requires_grad]
    assert len(trained) == 2 * len(layers)
    assert {p.dtype for p in trained} == {torch.float32}
    model, layers = sparse("llama", torch.bfloat16)
    before = state(model)
    FAST(model, list(layers), tokens(24, 16), seed=0)
    for name in layers:
        weight = model.get_parameter(name)
        assert weight.dtype == torch.bfloat16
        assert bool((weight[before[name] == 0] == 0).all())
        assert bool((weight != before[name]).any())


def test_a_loss_that_is_no_number_ends_the_run() -> None:
    model, layers = sparse("llama")
    with torch.no_grad():
        model.lm_head.weight.fill_(torch.inf)
    with pytest.raises(RunError, match=r"the loss is (nan|inf) at step 1; lower"):
        FAST(model, list(layers), tokens(24, 16), seed=0)


def test_a_run_keeps_its_masks_and_saves_what_it_measured(command: Command, tmp_path: Path) -> None:
    words = [*toy_arguments(tmp_path), "sparsity=0.6", "eval.baselines=[dense,pruned]"]
    plain = command(*words, "refine=none", run="plain").result
    words += ["finetune.learning_rate=1e-2", "save=true"]
    for refine in ("none", "dsnot"):
        done = command(*words, *QUICK, f"refine={refine}", "finetune.samples=8", run=refine)
        assert done.code == 0, done.err
        result, text = done.result, f"{tmp_path}/test.safetensors"
        stages = result["metrics"]["perplexity"][text]
        assert stages["pruned"] == plain["metrics"]["perplexity"][text]["refined"]
        assert stages["refined"] != stages["pruned"]
        assert result["finetune"]["steps"] == 4
        assert result["timing_s"]["finetune"] > 0
        assert result["config"]["finetune"]["seqlen"] == 24
        assert result["data"]["finetune"] == result["data"]["calibration"]  # the same file
        if refine == "none":
            assert result["masks_sha256"] == plain["masks_sha256"]
        weights = masked_weights(done.folder)
        for layer, sparsity in result["sparsity"]["layers"].items():
            zeros = float((weights[f"{layer}.weight"] == 0).float().mean())
            assert zeros == pytest.approx(sparsity)
        again = command(
            *toy_arguments(tmp_path), f"model.path={done.folder}/model", "prune=none", run="again"
        )
        assert again.result["metrics"]["perplexity"][text]["refined"] == stages["refined"]
    assert plain["finetune"] is None
    assert plain["timing_s"]["finetune"] == 0


def test_a_run_is_called_after_its_training(command: Command, tmp_path: Path) -> None:
    words = [*toy_arguments(tmp_path), *QUICK, "finetune.samples=8", "eval=none"]
    for rank in (2, 4):
        assert command(*words, "prune=magnitude", f"finetune.rank={rank}", run="").code == 0
    folders = [path.parent.name for path in tmp_path.glob("outputs/runs/*/result.json")]
    assert len(folders) == 2
    assert all(name.startswith("toy-magnitude-0.5-dsnot-lora-") for name in folders)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["finetune.rank=0"], "finetune.rank=0: expected 1 or more"),
        (["finetune.steps=0"], "finetune.steps=0"),
        (["finetune.batch_size=-1"], "finetune.batch_size=-1"),
        (["finetune.samples=0"], "finetune.samples=0"),
        (["finetune.learning_rate=0"], "finetune.learning_rate=0.0: expected above 0"),
        (["finetune.learning_rate=nan"], "finetune.learning_rate=nan"),
        (["finetune.warmup=1"], "finetune.warmup=1.0: expected a fraction"),
        (["finetune.schedule=step"], "choose from linear, cosine"),
        (["finetune.alpha=much"], "finetune.alpha"),
        (["finetune.seqlen=1"], "finetune.seqlen=1: a sequence needs two"),
        (["finetune.seqlen=65"], "finetune.seqlen=65: this model has 64 positions"),
        (["finetune.dataset=c5"], "finetune.dataset=c5"),
        (["finetune.samples=9"], "fewer than finetune.samples=9"),
        (["+finetune.ranks=2"], "ranks"),
        (["prune=none"], "finetune=lora: with prune=none there is no sparse model to train"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_bad_options_are_refused(
    command: Command, tmp_path: Path, words: list[str], expected: str
) -> None:
    done = command(*toy_arguments(tmp_path), "finetune=lora", *words)
    assert (done.code, done.out) == (2, "")
    assert expected in done.err
    assert done.err.count("\n") == 1


def test_experts_are_refused_before_their_weights_are_read(
    command: Command, tmp_path: Path
) -> None:
    words = toy_arguments(tmp_path, family="mixtral")
    (tmp_path / "toy" / "model.safetensors").write_bytes(b"no weights")
    done = command(*words, "finetune=lora")
    assert done.code == 2
    assert "mlp.experts.0.gate_up_proj is an expert" in done.err


def test_a_few_steps_make_the_bundled_model_better(command: Command) -> None:
    words = ["sparsity=0.7", "eval=ppl", "eval.baselines=[pruned]", "wandb=disabled"]
    words += ["refine=none", "relative_error=false", "calib.samples=16"]
    words += ["finetune=lora", "finetune.steps=16", "finetune.learning_rate=2e-3"]
    done = command(*words, "finetune.seqlen=128")
    assert done.code == 0, done.err
    assert done.err == ""
    assert "finetune" in done.out
    assert "{'loss'" not in done.out
    stages = done.result["metrics"]["perplexity"]["tinyworld"]
    facts = done.result["finetune"]
    assert facts["last_loss"] < facts["first_loss"] - 0.2
    assert stages["refined"] < stages["pruned"] - 1
