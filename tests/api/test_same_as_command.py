"""The Python API prunes and measures with the code of the command line: the same masks, weights and
numbers, to the bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

import dsnot_exp
from dsnot_exp.methods import ALPS, DSnoT, Fisher, Magnitude, SparseGPT, Swaps, Wanda
from dsnot_exp.tinyworld import MODEL
from dsnot_exp.tinyworld import tokenizer as tokenizer_words
from dsnot_exp.tinyworld.language import corpus
from tests.support.command import Command, masked_weights, toy_arguments

METHODS: dict[str, tuple[list[str], dict[str, Any]]] = {
    "names": (["prune=wanda", "refine=dsnot", "refine.max_cycles=auto"], {}),
    "objects": (
        ["prune=wanda", "refine=dsnot", "refine.max_cycles=5", "refine.guard=true"],
        {"prune": Wanda(), "refine": DSnoT(max_cycles=5, guard=True)},
    ),
    "options": (
        ["prune=ria", "prune.power=1.0", "refine=dsnot_official", "refine.max_cycles=7"],
        {
            "prune": {"name": "ria", "power": 1.0},
            "refine": {"name": "dsnot_official", "max_cycles": 7},
        },
    ),
    "moved weights": (
        ["prune=sparsegpt", "prune.damping=0.05", "refine=none", "reconstruct=cg"],
        {"prune": SparseGPT(damping=0.05), "refine": None, "reconstruct": "cg"},
    ),
    "N:M": (
        ["prune=wanda", "refine=swaps", "pattern=2:4"],
        {"prune": "wanda", "refine": Swaps(), "pattern": "2:4"},
    ),
    "allocated": (
        ["prune=alps", "refine=none", "allocate=fisher"],
        {"prune": ALPS(), "refine": "none", "allocate": Fisher()},
    ),
    "target": (
        ["prune=sparsegpt", "refine=none", "calib.target={alpha: 0.5, beta: 0.25}"],
        {"prune": "sparsegpt", "refine": None, "target": (0.5, 0.25)},
    ),
    "no data": (
        ["prune=magnitude", "prune.scope=matrix", "refine=none", "relative_error=false"],
        {"prune": Magnitude(scope="matrix"), "refine": None, "relative_error": False},
    ),
    "best": (["+method=best"], {"method": "best"}),
    "best, changed": (
        ["+method=best", "reconstruct=none", "calib.target={alpha: 0.0, beta: 0.0}"],
        {"method": "best", "reconstruct": None, "target": (0, 0)},
    ),
}


def loaded(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype="float32")


@pytest.mark.parametrize("case", METHODS)
def test_the_same_masks_weights_and_records(case: str, command: Command, tmp_path: Path) -> None:
    words, options = METHODS[case]
    words = [w for w in toy_arguments(tmp_path) if "max_cycles" not in w] + words
    amount = {} if "pattern" in options else {"sparsity": 0.6}
    done = command(*words, *(["sparsity=0.6"] if amount else []), "calib.samples=6", "save=true")
    assert done.code == 0, done.err
    ids = load_file(tmp_path / "calib.safetensors")["input_ids"]
    model = loaded(tmp_path / "toy")
    sparse = dsnot_exp.prune(model, calibration=ids, samples=6, **amount, **options)
    result = done.result
    assert sparse.masks_sha256 == result["masks_sha256"]
    for name, weight in masked_weights(done.folder).items():
        assert torch.equal(model.get_parameter(name), weight), name
    rows = sparse.layers.astype(object).where(sparse.layers.notna(), None).to_dict("records")
    for row, record in zip(rows, result["metrics"]["reconstruction"], strict=True):
        assert {key: row[key] for key in record} == record
    sparsity = result["sparsity"]
    assert dict(zip(sparse.layers.layer, sparse.layers.sparsity, strict=True)) == sparsity["layers"]
    for layer, share in sparsity["layers"].items():
        assert float((~sparse.masks[layer]).float().mean()) == pytest.approx(share)
    config = {k: v for k, v in result["config"].items() if k in sparse.config}
    for group in ("prune", "refine", "allocate", "reconstruct", "sparsity", "pattern", "method"):
        assert sparse.config[group] == config[group], group


@pytest.mark.parametrize("family", ["gpt2", "gemma2", "mixtral", "llama-tied", "opt"])
def test_of_every_kind_of_model(family: str, command: Command, tmp_path: Path) -> None:
    words = toy_arguments(tmp_path, family=family)
    done = command(*words, "sparsity=0.5", "refine.max_cycles=4")
    assert done.code == 0, done.err
    sparse = dsnot_exp.prune(
        loaded(tmp_path / "toy"),
        calibration=str(tmp_path / "calib.safetensors"),
        samples=8,
        seqlen=24,
        refine=DSnoT(max_cycles=4),
    )
    assert sparse.masks_sha256 == done.result["masks_sha256"]


@pytest.fixture
def texts(tmp_path: Path) -> list[str]:
    text = corpus("validation", 6000)
    size = len(text) // 5
    found = [text[start : start + size] for start in range(0, 5 * size, size)]
    (tmp_path / "one.txt").write_text(text)
    lines = "\n".join(json.dumps({"text": one}) for one in found)
    (tmp_path / "several.jsonl").write_text(lines)
    return found


def test_texts_are_read_as_files_are(command: Command, tmp_path: Path, texts: list[str]) -> None:
    tokenizer = tokenizer_words.build()
    words = toy_arguments(tmp_path, vocab_size=len(tokenizer))
    tokenizer.save_pretrained(tmp_path / "toy")
    for name, given in (("one.txt", ["".join(texts)]), ("several.jsonl", texts)):
        file = tmp_path / name
        more = [f"calib.dataset={file}", f"eval.perplexity=[{file}]", "eval.seqlen=32", "seed=3"]
        done = command(*words, *more, run=f"of-{name}")
        assert done.code == 0, done.err
        model = loaded(tmp_path / "toy")
        sparse = dsnot_exp.prune(
            model, tokenizer, calibration=given, samples=8, seqlen=24, seed=3,
            refine=DSnoT(max_cycles=50),
        )  # fmt: skip
        assert sparse.masks_sha256 == done.result["masks_sha256"], name
        calibration = done.result["data"]["calibration"]
        assert sparse.data == calibration | {"dataset": "given"}
        found = dsnot_exp.evaluate(
            model, tokenizer, perplexity={"mine": given, "file": file}, seqlen=32
        )
        measured = done.result["metrics"]["perplexity"][str(file)]["refined"]
        assert found.perplexity == {"mine": measured, "file": measured}
        assert found.data["mine"]["tokens_sha256"] == found.data["file"]["tokens_sha256"]


def test_tinyworld_with_its_text_and_tasks(command: Command) -> None:
    words = ["calib.samples=8", "calib.seqlen=64", "eval.tasks=[tw_where,tw_count]"]
    words += ["eval.limit=12", "eval.baselines=[dense]", "eval.seqlen=256", "wandb=disabled"]
    done = command(*words, "sparsity=0.5", "model.max_cycles=4")
    assert done.code == 0, done.err
    model, tokenizer = loaded(MODEL), AutoTokenizer.from_pretrained(MODEL)
    options = {"perplexity": "tinyworld", "tasks": ["tw_where", "tw_count"]}
    options |= {"seqlen": 256, "limit": 12, "progress": False}
    measured = {"dense": dsnot_exp.evaluate(model, tokenizer, **options)}
    sparse = dsnot_exp.prune(
        model, tokenizer, calibration="tinyworld", samples=8, seqlen=64, sparsity=0.5,
        refine=DSnoT(max_cycles=4), progress=False,
    )  # fmt: skip
    assert sparse.masks_sha256 == done.result["masks_sha256"]
    assert sparse.data == done.result["data"]["calibration"]
    measured["refined"] = dsnot_exp.evaluate(sparse.model, tokenizer, **options)
    for group, by_name in done.result["metrics"].items():
        if group not in ("perplexity", "zero_shot"):
            continue
        for name, stages in by_name.items():
            assert {s: measured[s][group][name] for s in stages} == stages


def test_the_first_sequences_of_a_text_as_on_the_command_line(
    command: Command, tmp_path: Path
) -> None:
    done = command(*toy_arguments(tmp_path), "prune=none", "eval.blocks=3")
    assert done.code == 0, done.err
    dataset = f"{tmp_path}/test.safetensors"
    with pytest.warns(UserWarning, match=r"blocks=3") as warned:
        found = dsnot_exp.evaluate(
            loaded(tmp_path / "toy"), perplexity=dataset, seqlen=24, blocks=3, progress=False
        )
    assert found.perplexity[dataset] == done.result["metrics"]["perplexity"][dataset]["refined"]
    assert not any("eval." in str(one.message) for one in warned)
    assert found.data[dataset]["sequences"] == 3
