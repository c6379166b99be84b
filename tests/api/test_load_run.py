"""A finished run, read from Python: tables, masks, and the model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

import dsnot_exp
from dsnot_exp import ArgumentError, RunError
from tests.support.command import Command, masked_weights, toy_arguments


def test_the_tables_are_those_of_the_result(command: Command, tmp_path: Path) -> None:
    words = toy_arguments(tmp_path)
    done = command(*words, "eval.baselines=[dense]", "sparsity=0.6")
    run = dsnot_exp.load_run(done.folder)
    assert run.result == done.result
    assert run.config["sparsity"] == 0.6
    dataset = f"{tmp_path}/test.safetensors"
    stages = done.result["metrics"]["perplexity"][dataset]
    assert run.metrics.to_dict("records") == [
        {"kind": "perplexity", "name": dataset, "metric": "perplexity", **stages}
    ]
    layers = run.layers
    rows = done.result["metrics"]["reconstruction"]
    assert layers.layer.tolist() == [row["layer"] for row in rows]
    assert layers.swaps.tolist() == [row["swaps"] for row in rows]
    assert layers.sparsity.tolist() == list(done.result["sparsity"]["layers"].values())
    assert "59.2% zeros" in repr(dsnot_exp.load_run(done.folder / "result.json"))
    table = dsnot_exp.runs(tmp_path)
    assert len(table) == 1


def test_tasks_have_a_row_per_metric(tmp_path: Path) -> None:
    values = {"acc": 0.5, "acc_stderr": 0.1, "version": 1.0, "items": 8, "bos": True}
    result: dict[str, Any] = {
        "schema": 1,
        "config": {},
        "sparsity": {"achieved": 0.0, "layers": {}, "targets": {}},
        "metrics": {
            "perplexity": {"text": {"dense": 2.0, "refined": 3.0}},
            "zero_shot": {"task": {"dense": values, "refined": {"error": "it broke"}}},
        },
    }
    (tmp_path / "result.json").write_text(json.dumps(result))
    metrics = dsnot_exp.load_run(tmp_path).metrics
    assert metrics.metric.tolist() == ["perplexity", "acc", "acc_stderr"]
    assert metrics.dense.tolist() == [2.0, 0.5, 0.1]
    assert metrics.refined.tolist()[0] == 3.0
    assert metrics.refined.isna().tolist() == [False, True, True]
    assert len(dsnot_exp.load_run(tmp_path).layers) == 0


def test_masks_and_their_overlap(command: Command, tmp_path: Path) -> None:
    words = toy_arguments(tmp_path)
    one = dsnot_exp.load_run(command(*words, run="a").folder)
    other = dsnot_exp.load_run(command(*words, "refine=none", run="b").folder)
    table = one.mask_overlap(other)
    assert table.layer.tolist() == one.layers.layer.tolist()
    for row in table.to_dict("records"):
        a, b = one.masks[row["layer"]], other.masks[row["layer"]]
        assert row["share_equal"] == pytest.approx(float((a == b).float().mean()))
        assert row["jaccard"] == pytest.approx(float((a & b).sum() / (a | b).sum()))
    assert table.jaccard.max() < 1
    assert one.mask_overlap(one.folder).jaccard.eq(1).all()
    ids = load_file(tmp_path / "calib.safetensors")["input_ids"]
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "toy", dtype="float32")
    sparse = dsnot_exp.prune(model, calibration=ids, refine=None, progress=False)
    assert other.mask_overlap(sparse).jaccard.eq(1).all()
    assert sparse.mask_overlap(other).jaccard.eq(1).all()
    with pytest.raises(ArgumentError, match="no layer in common"):
        one.mask_overlap({"nothing": torch.ones(1, dtype=torch.bool)})
    with pytest.raises(ArgumentError, match="other=3: expected a run"):
        one.mask_overlap(3)


@pytest.mark.parametrize(
    "words",
    [
        ["keep=masks"],
        ["prune=sparsegpt", "refine=none", "keep=weights"],
        ["prune=sparsegpt", "refine=none", "keep=none", "save=true"],
    ],
)
def test_the_model_is_the_run_s(words: list[str], command: Command, tmp_path: Path) -> None:
    done = command(*toy_arguments(tmp_path), *words)
    assert done.code == 0, done.err
    model = dsnot_exp.load_run(done.folder).model()
    saving = command(*toy_arguments(tmp_path), *words, "save=true", run="saving")
    for name, weight in masked_weights(saving.folder).items():
        assert torch.equal(model.get_parameter(name), weight), name
    dataset = f"{tmp_path}/test.safetensors"
    measured = dsnot_exp.evaluate(model, perplexity=dataset, seqlen=24, progress=False)
    assert measured.perplexity[dataset] == done.result["metrics"]["perplexity"][dataset]["refined"]


def test_what_is_not_kept_is_said(command: Command, tmp_path: Path) -> None:
    words = toy_arguments(tmp_path)
    none = dsnot_exp.load_run(command(*words, "keep=none", run="none").folder)
    with pytest.raises(RunError, match="masks were not kept; repeat the run with keep=masks"):
        none.masks  # noqa: B018
    moved = dsnot_exp.load_run(command(*words, "prune=sparsegpt", run="moved").folder)
    with pytest.raises(RunError, match="repeat the run with keep=weights rerun=true"):
        moved.model()
    kept = dsnot_exp.load_run(command(*words, run="kept").folder)
    command(*words, "prune=none", run="other")  # the toy is written anew below
    toy_arguments(tmp_path, seed=1)
    with pytest.raises(RunError, match="its weights are not those that the run pruned"):
        kept.model()
