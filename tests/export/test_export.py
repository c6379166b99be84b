"""Exports: the formats hold the same tensors to the bit, and load as the plain folder does."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import ModelCard
from safetensors import safe_open
from transformers import AutoModelForCausalLM

import dsnot_exp
from dsnot_exp.models.packed_files import read_index
from dsnot_exp.utils.errors import RequestError, RunError
from tests.export.conftest import Export
from tests.support.families import tokens

Saved = Callable[..., Path]
BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def same(one: Any, other: Any) -> None:
    """Two models with the same tensors to the bit, tied ones tied in both."""
    a, b = one.state_dict(), other.state_dict()
    assert list(a) == list(b)
    for name, tensor in a.items():
        assert tensor.dtype == b[name].dtype
        bits = BITS[tensor.element_size()]
        assert torch.equal(tensor.view(bits), b[name].view(bits)), name
    sharing = [{n: t.data_ptr() for n, t in tensors.items()} for tensors in (a, b)]
    assert len({*sharing[0].values()}) == len({*sharing[1].values()})


FAMILIES = ["llama", "llama-tied", "gpt2", "qwen3_moe", "gpt_oss", "bamba"]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_packed_model_is_the_plain_one(family: str, export: Export, saved: Saved) -> None:
    run = saved(family=family)
    said = export.fine(run, "--format", "bitmask")
    folder = run / "export/bitmask"
    assert f"dsnot_exp.load_packed({json.dumps(str(folder))})" in said
    loaded = dsnot_exp.load_packed(folder)
    same(AutoModelForCausalLM.from_pretrained(run / "model"), loaded)
    assert not loaded.training
    index = read_index(folder)
    assert index.packed < 0.45 * index.dense  # 60 % in float32


@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen3_moe"])
def test_2_4_is_the_plain_model_too(family: str, export: Export, saved: Saved) -> None:
    run = saved("pattern=2:4", family=family)
    export.fine(run, "--format", "2:4")
    same(
        AutoModelForCausalLM.from_pretrained(run / "model"),
        dsnot_exp.load_packed(run / "export/2of4"),
    )
    index = read_index(run / "export/2of4")
    result = json.loads((run / "result.json").read_text())
    assert index.entries == result["model"]["prunable_parameters"]
    assert index.packed / index.dense == pytest.approx(0.5 + 1 / 32)


def test_60_percent_in_bfloat16_takes_less_than_half(export: Export, saved: Saved) -> None:
    run = saved("model.dtype=bfloat16")
    said = export.fine(run, "--format", "bitmask")
    index = read_index(run / "export/bitmask")
    assert index.packed / index.dense == pytest.approx(0.4625, abs=0.01)
    whole = (index.packed + index.rest) / (index.dense + index.rest)
    assert f", {index.packed / index.dense:.3f} of it" in said
    assert f", {whole:.3f} of it" in said
    files = sum(file.stat().st_size for file in (run / "export/bitmask").glob("*.safetensors"))
    assert files == pytest.approx(index.packed + index.rest, abs=8192)  # and headers
    same(
        AutoModelForCausalLM.from_pretrained(run / "model"),
        dsnot_exp.load_packed(run / "export/bitmask"),
    )


def test_plain_is_a_folder_that_transformers_loads(export: Export, saved: Saved) -> None:
    run = saved()
    export.fine(run)
    plain = run / "export/plain"
    same(
        AutoModelForCausalLM.from_pretrained(run / "model"),
        AutoModelForCausalLM.from_pretrained(plain),
    )
    card = ModelCard.load(plain / "README.md")
    assert card.data.library_name == "transformers"
    assert json.loads((plain / "config.json").read_text())["dsnot_exp"]["prune"] == "wanda"
    shared = [(plain / name).stat().st_nlink for name in ("model.safetensors", "config.json")]
    assert shared == [2, 1]


def test_a_sharded_and_streamed_model(export: Export, saved: Saved) -> None:
    run = saved("model.streaming=true")
    assert len([*(run / "model").glob("*.safetensors")]) > 1
    export.fine(run, "--format", "bitmask")
    same(
        AutoModelForCausalLM.from_pretrained(run / "model"),
        dsnot_exp.load_packed(run / "export/bitmask"),
    )
    names = {file.name for file in (run / "export/bitmask").iterdir()}
    assert not any(name.startswith("model") for name in names)


def test_no_program_takes_the_packed_weights_for_dense_ones(export: Export, saved: Saved) -> None:
    run = saved()
    export.fine(run, "--format", "bitmask")
    with pytest.raises(OSError, match="model"):
        AutoModelForCausalLM.from_pretrained(run / "export/bitmask")
    with safe_open(run / "export/bitmask/packed-00001.safetensors", "pt") as file:
        assert "model.layers.0.mlp.up_proj.weight.bits" in file.keys()  # noqa: SIM118


def test_the_loaded_model_generates_like_the_plain_one(export: Export, saved: Saved) -> None:
    run = saved()
    export.fine(run, "--format", "bitmask")
    ids = tokens(1, 6)
    generated = [
        model.generate(ids, max_new_tokens=5, do_sample=False)
        for model in (
            dsnot_exp.load_packed(run / "export/bitmask"),
            AutoModelForCausalLM.from_pretrained(run / "model"),
        )
    ]
    assert torch.equal(*generated)


def test_wrong_requests(export: Export, saved: Saved, tmp_path: Path) -> None:
    run = saved()
    line = export.refused(run, "--format", "2:4")
    assert "has the pattern unstructured; run it with pattern=2:4, or choose --format" in line
    assert "no such run" in export.refused("nothing", "--outputs", run.parent)
    assert "--private: there is no --push" in export.refused(run, "--private")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("mine")
    assert "is not empty, and no export" in export.refused(run, "--out", tmp_path / "mine")
    assert "is the folder of a run" in export.refused(run, "--out", run)
    assert "is a file" in export.refused(run, "--out", run / "result.json")
    with pytest.raises(RequestError, match="no packed model"):
        dsnot_exp.load_packed(run / "model")


def test_a_dense_model_is_not_packed(export: Export, saved: Saved) -> None:
    run = saved("prune=none")
    assert "no tensor of" in export.refused(run, "--format", "bitmask")
    assert not (run / "export/bitmask").exists()
    assert [*(run / "export").iterdir()] == []
    export.fine(run)


def test_a_damaged_file_is_not_loaded(export: Export, saved: Saved) -> None:
    run = saved()
    export.fine(run, "--format", "bitmask")
    file = run / "export/bitmask/packed-00001.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(RunError, match="damaged; export or download it again"):
        dsnot_exp.load_packed(run / "export/bitmask")
