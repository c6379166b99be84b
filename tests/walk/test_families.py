"""Every family of models from the command line: pruned, refined, saved, and loaded again."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from dsnot_exp.evaluate.perplexity import perplexity
from dsnot_exp.models.blocks import find_blocks
from dsnot_exp.models.linears import linears
from tests.support.command import Command, toy_arguments
from tests.support.families import FAMILIES

WALKED = [f for f in FAMILIES if f != "llama4_text"]


@pytest.mark.parametrize("family", WALKED)
def test_a_saved_model_is_the_one_that_was_measured(
    command: Command, tmp_path: Path, family: str
) -> None:
    words = toy_arguments(tmp_path, family=family)
    done = command(*words, "prune=sparsegpt", "sparsity=0.6", "save=true", "calib.min_tokens=8")
    assert done.code == 0, done.err
    saved = AutoModelForCausalLM.from_pretrained(done.folder / "model").eval()
    dense = AutoModelForCausalLM.from_pretrained(tmp_path / "toy").eval()
    text = load_file(tmp_path / "test.safetensors")["input_ids"]
    measured = done.result["metrics"]["perplexity"][f"{tmp_path}/test.safetensors"]["refined"]
    assert perplexity(saved, text, 8) == pytest.approx(measured, rel=1e-6)
    for row in done.result["metrics"]["reconstruction"]:
        assert row["expected_before"] is None or row["expected_after"] <= row["expected_before"]
    assert saved.generation_config.to_dict() == dense.generation_config.to_dict()
    name, blocks = find_blocks(saved)
    recorded, pruned = done.result["sparsity"]["layers"], set()
    for index, block in enumerate(blocks):
        for linear, matrix in linears(block).items():
            zeros = float((matrix.weight == 0).float().mean())
            assert zeros == pytest.approx(recorded.pop(f"{name}.{index}.{linear}")), linear
            pruned.add(id(matrix.parameter))
    assert not recorded
    before = dict(dense.named_parameters())
    for key, parameter in saved.named_parameters():
        if id(parameter) not in pruned:
            assert torch.equal(parameter, before[key]), key


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_kept(command: Command, tmp_path: Path, dtype: str) -> None:
    done = command(*toy_arguments(tmp_path), f"model.dtype={dtype}", "pattern=2:4", "save=true")
    assert done.code == 0, done.err
    saved = AutoModelForCausalLM.from_pretrained(done.folder / "model")
    assert saved.dtype == getattr(torch, dtype)
    for matrix in linears(find_blocks(saved)[1][0]).values():
        assert ((matrix.weight.unflatten(1, (-1, 4)) == 0).sum(-1) == 2).all()


def test_an_interrupted_save_leaves_no_model_folder(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = toy_arguments(tmp_path)
    monkeypatch.setattr(
        "transformers.PreTrainedModel.save_pretrained",
        lambda self, folder, **_: (Path(folder, "config.json").write_text("{}"), 1 / 0),
    )
    (tmp_path / "run" / ".model.left").mkdir(parents=True)  # by a run that was killed
    done = command(*words, "save=true")
    assert done.code == 1
    assert not (done.folder / "model").exists()
    assert not list(done.folder.glob(".model*"))
