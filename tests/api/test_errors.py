"""What cannot be meant is refused in one line that names the argument, before anything is computed;
the model stays as it is."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from torch.nn.utils.prune import random_unstructured
from transformers import AutoTokenizer, BertConfig, BertForMaskedLM

import dsnot_exp
from dsnot_exp import ArgumentError, DSnoT, RunError, Wanda
from dsnot_exp.tinyworld import MODEL
from tests.support.families import build, tokens

IDS = tokens(8, 24)
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"samples": 0}, "samples=0: expected 1 or more"),
    ({"samples": "many"}, "samples='many': expected a whole number in digits, such as 8"),
    ({"samples": 9}, "calibration: holds 8 sequences of 24 tokens, fewer than samples=9"),
    ({"sparsity": 1.2}, "sparsity=1.2: expected a fraction in [0, 1), such as 0.6, or N:M"),
    ({"pattern": "4:2"}, "pattern=4:2: N:M keeps N of every M weights"),
    ({"seqlen": 1}, "seqlen=1: a sequence needs two tokens"),
    ({"seqlen": 4096}, "seqlen=4096: this model has 64 positions; choose 64 or fewer"),
    ({"batch_size": 0}, "batch_size=0: expected 1 or more"),
    ({"held_out": 0}, "held_out=0: expected 1 or more"),
    ({"min_tokens": 0}, "min_tokens=0: expected 1 or more"),
    ({"seed": "x"}, "seed='x': expected a whole number"),
    ({"prune": "wand"}, "prune=wand: choose from magnitude, wanda, "),
    ({"prune": None}, "prune=None: no pruner; choose one"),
    ({"prune": DSnoT()}, "prune=DSnoT(): a method for refine=, not for prune="),
    ({"prune": Wanda}, "prune=Wanda: a class; give an object of it, prune=Wanda()"),
    ({"refine": {"max_cycles": 3}}, "the name is missing; give dict(name=...)"),
    ({"refine": {"name": "dsnot", "max_cycle": 3}}, "did you mean refine.max_cycles?"),
    ({"refine": {"name": "dsnot", "max_cycles": -3}}, "refine.max_cycles=-3: expected auto"),
    ({"refine": 3}, "refine=3: expected a name from dsnot, "),
    ({"method": "bset"}, "method='bset': choose from best, dsnot, fast"),
    ({"target": (1.5, 0)}, "target[0]=1.5: expected a number from 0 to 1"),
    ({"target": 3}, "target=3: expected (alpha, beta)"),
    ({"target": (0, 0.5)}, "target[1]=0.5: no method of this run solves for a target"),
    ({"device": "mps"}, "device=mps: this machine has 0 MPS devices"),
    ({"device": "tpu"}, "device=tpu: choose from auto, cpu, cuda, cuda:0"),
    ({"dense": "mlpp"}, "dense=mlpp: matches no layer of a block; choose from "),
    ({"blocks": "model.x"}, "blocks=model.x: LlamaForCausalLM has no such list of blocks"),
    ({"relative_error": "x"}, "relative_error=x: choose from sample, True, False"),
    ({"bos": "x"}, "bos=x: choose from auto, True, False"),
    ({"states": "x"}, "states=x: choose from auto, device, memory, disk"),
    ({"calibration": "nope"}, "calibration=nope: choose from wikitext2, c4, "),
    ({"calibration": "Once upon a time"}, "give a text as a list, calibration=[text]"),
    ({"calibration": []}, "calibration: holds no text"),
    ({"calibration": ["a", 3]}, "calibration[1]: expected a text, not int"),
    ({"calibration": 7}, "calibration=7: expected the name or path of a data set"),
    ({"calibration": [[1, 2], [3]]}, "calibration: expected texts, or rows of token ids of the"),
    ({"calibration": IDS.float()}, "calibration: input_ids are float32; expected integers"),
    ({"calibration": IDS + 1000}, "calibration: token ids range from "),
    ({"calibration": IDS[None]}, "calibration: input_ids have the shape (1, 8, 24)"),
    (
        {"calibration": {"input_ids": IDS, "attention_mask": torch.zeros_like(IDS)}},
        "calibration: attention_mask masks 192 of 192 tokens",
    ),
    ({"calibration": ["a b"]}, "tokenizer=None: calibration is text; give the model's tokenizer"),
]


@pytest.fixture(scope="module")
def model() -> Any:
    return build("llama")


@pytest.mark.parametrize(("wrong", "message"), WRONG, ids=[words for _, words in WRONG])
def test_a_wrong_argument_is_named(wrong: dict[str, Any], message: str, model: Any) -> None:
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ArgumentError) as refused:
        dsnot_exp.prune(model, **({"calibration": IDS, "progress": False} | wrong))
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)
    assert "calib." not in str(refused.value)
    assert isinstance(refused.value, ValueError)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def adapted() -> Any:
    model = build("llama")
    model.add_adapter(LoraConfig(target_modules=["q_proj"]))
    return model


def computed() -> Any:
    model = build("llama")
    random_unstructured(model.model.layers[0].mlp.up_proj, "weight", 0.5)
    return model


def of_inference() -> Any:
    with torch.inference_mode():
        return copy.deepcopy(build("llama"))


def meta() -> Any:
    return build("llama").to("meta")


def spread() -> Any:
    """As device_map leaves a model of which a part lies elsewhere."""
    from accelerate import cpu_offload

    return cpu_offload(build("llama"), "cpu")


def quantised() -> Any:
    model = build("llama")
    model.config.quantization_config = {"quant_method": "gptq"}
    return model


def encoder() -> Any:
    sizes = {"hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 48}
    return BertForMaskedLM(BertConfig(vocab_size=96, num_hidden_layers=2, **sizes))


MODELS: list[tuple[Callable[[], Any], str]] = [
    (lambda: "llama", "str is no model of transformers"),
    (lambda: nn.Linear(3, 3), "Linear is no model of transformers"),
    (lambda: build("llama").model, "LlamaModel has no language-model head"),
    (lambda: torch.compile(build("llama")), "a compiled model; give the model that torch.compile"),
    (lambda: nn.DataParallel(build("llama")), "a wrapper; give the model inside it"),
    (
        lambda: get_peft_model(build("llama"), LoraConfig(target_modules=["q_proj"])),
        "a model of peft; give model.merge_and_unload()",
    ),
    (adapted, "is a LoRA adapter; merge it"),
    (computed, "is computed from others"),
    (of_inference, "was made in torch.inference_mode()"),
    (meta, "is on the meta device"),
    (spread, "device_map"),
    (quantised, "is quantised (quantization_config: gptq)"),
    (encoder, "bert is an encoder"),
]


@pytest.mark.parametrize(("make", "message"), MODELS, ids=[words for _, words in MODELS])
def test_a_model_that_cannot_be_pruned_is_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ArgumentError) as refused:
        dsnot_exp.prune(make(), calibration=IDS, progress=False)
    assert str(refused.value).startswith("model")
    assert message in str(refused.value)


def test_weights_that_are_no_numbers_are_found_before_the_walk() -> None:
    model = build("llama")
    model.get_parameter("model.layers.1.mlp.up_proj.weight").data[0, 0] = float("nan")
    with pytest.raises(RunError, match=r"up_proj\.weight: its weights contain NaN"):
        dsnot_exp.prune(model, calibration=IDS, progress=False)


def test_a_model_that_is_sparse_already_is_warned_of() -> None:
    model = build("llama")
    dsnot_exp.prune(model, calibration=IDS, progress=False)
    with pytest.warns(UserWarning, match="already sparse before this run pruned it: 50.0% zeros"):
        again = dsnot_exp.prune(model, calibration=IDS, sparsity=0.6, progress=False)
    assert len(again.warnings) == 1


MEASURES: list[tuple[dict[str, Any], str]] = [
    ({}, "perplexity, tasks: nothing to measure"),
    ({"perplexity": "nope"}, "perplexity=nope: choose from wikitext2"),
    ({"perplexity": [3]}, "perplexity=3: expected a name"),
    ({"perplexity": {"wikitext2": IDS}}, "the name of a corpus; give your text another name"),
    ({"perplexity": {"mine": IDS}, "seqlen": 100}, "seqlen=100: this model has 64 positions"),
    ({"perplexity": {"mine": ["a b"]}}, "tokenizer=None: perplexity is text"),
    ({"perplexity": {"mine": IDS}, "limit": 0}, "limit=0: expected 1 or more"),
    ({"perplexity": {"mine": IDS}, "batch_size": "x"}, "a whole number in digits, such as 8, or N"),
    ({"tasks": "tw_where"}, "tokenizer=None: tasks are text"),
    ({"tasks": [3]}, "tasks=3: expected a name"),
]


@pytest.mark.parametrize(("wrong", "message"), MEASURES, ids=[words for _, words in MEASURES])
def test_a_wrong_measurement_is_refused(wrong: dict[str, Any], message: str, model: Any) -> None:
    with pytest.raises(ArgumentError) as refused:
        dsnot_exp.evaluate(model, progress=False, **wrong)
    assert message in str(refused.value)
    assert "eval." not in str(refused.value)


def test_the_tokenizer_of_another_model_is_refused(model: Any) -> None:
    with pytest.raises(ArgumentError, match="tokenizer has 1253 entries"):
        dsnot_exp.prune(model, AutoTokenizer.from_pretrained(MODEL), calibration=["a b"])


def test_a_run_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="no such folder"):
        dsnot_exp.load_run(tmp_path / "none")
    with pytest.raises(ArgumentError, match=r"no result\.json in it; give the folder"):
        dsnot_exp.load_run(tmp_path)
    (tmp_path / "error.txt").write_text("it broke")
    with pytest.raises(ArgumentError, match=r"no result\.json in it \(it broke\)"):
        dsnot_exp.load_run(tmp_path)
    (tmp_path / "result.json").write_text("{")
    with pytest.raises(ArgumentError, match="cannot be read"):
        dsnot_exp.load_run(tmp_path)
