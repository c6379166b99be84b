"""A model that is sparse before the run is never called dense, and a model that this package saved
tells how it was made."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from dsnot_exp.config import ModelConfig
from dsnot_exp.models.open import open_model
from dsnot_exp.models.source import locate
from dsnot_exp.models.sparse_record import KEY, write_record
from dsnot_exp.run.already_sparse import Found, look_for_zeros
from tests.support.command import Command, toy_arguments
from tests.support.families import build

CPU = torch.device("cpu")


def toy(folder: Path, zeros: float) -> Path:
    """A llama with this share of zeros in the linear layers of its blocks, at random."""
    build("llama").save_pretrained(folder)
    tensors = load_file(folder / "model.safetensors")
    generator = torch.Generator().manual_seed(0)
    for name, tensor in tensors.items():
        if name.endswith("_proj.weight"):
            count = round(zeros * tensor.numel())
            tensor.view(-1)[torch.randperm(tensor.numel(), generator=generator)[:count]] = 0
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def record_in(folder: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((folder / "config.json").read_text())[KEY]
    return record


def found(folder: Path, prunes: bool = False, streaming: str = "false") -> Found:
    options = ModelConfig("local", str(folder), streaming=streaming)
    source = locate(options)
    return look_for_zeros(open_model(source, options, CPU), source, prunes)


@pytest.mark.parametrize("streaming", ["true", "false"])
def test_zeros_are_counted_layer_by_layer(streaming: str, tmp_path: Path) -> None:
    told = found(toy(tmp_path, 0.5), streaming=streaming)
    assert len(told.zeros) == 3 * 7
    assert all(zeros == weights // 2 for zeros, weights in told.zeros.values())
    assert told.zeros["model.layers.1.mlp.up_proj"] == (768, 1536)
    assert told.sparse is not None
    assert told.sparse["sparsity"] == 0.5
    assert {told.sparse[key] for key in ("prune", "refine", "finetune", "pattern")} == {None}


def test_a_few_zeros_are_counted_but_do_not_make_a_model_sparse(tmp_path: Path) -> None:
    told = found(toy(tmp_path, 0.04))
    assert sum(zeros for zeros, _ in told.zeros.values()) > 0
    assert (told.sparse, told.warnings) == (None, ())


def test_a_streamed_model_that_is_pruned_is_judged_by_one_block(tmp_path: Path) -> None:
    told = found(toy(tmp_path, 0.5), prunes=True, streaming="true")
    assert {name.split(".")[2] for name in told.zeros} == {"1"}
    assert told.sparse is not None
    assert "already sparse before this run pruned it: 50.0% zeros" in told.warnings[0]


def recorded(folder: Path, record: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {KEY: record}))


@pytest.mark.parametrize("content", [[], {}, "a", {"schema": 1, "sparsity": "a"}, {"schema": 2}])
def test_a_record_of_others_does_no_harm(content: Any, tmp_path: Path) -> None:
    recorded(toy(tmp_path, 0.5), content)
    told = found(tmp_path)
    assert told.sparse is not None
    assert told.sparse["prune"] is None


def test_a_record_that_the_weights_contradict_is_not_believed(tmp_path: Path) -> None:
    recorded(toy(tmp_path, 0.0), {"schema": 1, "sparsity": 0.5})
    told = found(tmp_path)
    assert told.sparse is None
    assert KEY in told.warnings[0]


def test_a_low_sparsity_that_is_recorded_is_believed(tmp_path: Path) -> None:
    record = {"schema": 1, "sparsity": 0.02, "prune": "wanda"}
    recorded(toy(tmp_path, 0.02), record)
    assert (found(tmp_path).sparse or {})["prune"] == "wanda"


@pytest.mark.parametrize("streaming", ["false", "true"])
def test_a_saved_model_is_known_again(streaming: str, command: Command, tmp_path: Path) -> None:
    words = [*toy_arguments(tmp_path), "save=true", f"model.streaming={streaming}"]
    made = command(*words, "prune=wanda", "sparsity=0.5", run="made")
    assert made.code == 0, made.err
    again = [word for word in words if not word.startswith("model.path")]
    again.append(f"model.path={made.folder}/model")
    kept = command(*again, "prune=none", run="kept")
    assert kept.code == 0, kept.err
    assert "dense" not in kept.out
    assert kept.result["sparsity"]["achieved"] == made.result["sparsity"]["achieved"] == 0.5
    assert kept.result["sparsity"]["layers"] == made.result["sparsity"]["layers"]
    assert kept.result["masks_sha256"] is None
    same = {"prune": "wanda", "refine": "dsnot", "pattern": "unstructured", "sparsity": 0.5}
    same |= {key: made.result[key] for key in ("masks_sha256", "config_hash")}
    sparse: dict[str, Any] = kept.result["model"]["sparse"]
    assert {key: sparse[key] for key in same} == same
    assert made.result["model"]["sparse"] is None
    assert str(tmp_path) not in (made.folder / "model" / "config.json").read_text()
    assert {file.stat().st_nlink for file in (made.folder / "model").iterdir()} == {1}
    records = [record_in(run.folder / "model") for run in (made, kept)]
    assert records[0] == records[1]
    if streaming == "true":
        return
    more = command(*again, "prune=magnitude", "refine=none", "sparsity=0.7", run="more")
    assert more.result["model"]["sparse"] == sparse
    assert "already sparse" in more.result["warnings"][0]
    assert record_in(more.folder / "model")["base_sparse"] == sparse


def test_transformers_keeps_the_record_and_says_nothing(
    command: Command, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    words = [*toy_arguments(tmp_path), "save=true", "refine=none"]
    folder = command(*words, run="made").folder / "model"
    with warnings.catch_warnings(), caplog.at_level("WARNING"):
        warnings.simplefilter("error")
        model = AutoModelForCausalLM.from_pretrained(folder)
    assert caplog.records == []
    model.save_pretrained(tmp_path / "again")
    assert record_in(tmp_path / "again") == record_in(folder)
    assert record_in(folder)["prune"] == "wanda"
    dense = build("llama")
    dense.config.dsnot_exp = record_in(folder)
    dense.save_pretrained(tmp_path / "dense")
    write_record(tmp_path / "dense", None)
    assert KEY not in json.loads((tmp_path / "dense/config.json").read_text())
