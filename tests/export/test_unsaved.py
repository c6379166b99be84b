"""A run that has not saved its model is exported from what it has kept, with the same tensors."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM

import dsnot_exp
from dsnot_exp.export.sparse_model import recipe_of
from tests.export.conftest import Export
from tests.export.test_export import same
from tests.support.command import Command, toy_arguments

Saved = Callable[..., Path]
WITH_TOKENIZER = ["model=tinyworld", "eval=none", "calib.samples=4", "wandb=disabled"]


@pytest.mark.parametrize("form", ["plain", "bitmask"])
def test_an_unsaved_model_equals_the_saved_one(form: str, export: Export, command: Command) -> None:
    words = [*WITH_TOKENIZER, "sparsity=0.6", "refine.max_cycles=2"]
    run = command(*words, run="unsaved").folder
    assert not (run / "model").exists()
    export.fine(run, "--format", form)
    saved = command(*words, "save=true", run="saved").folder
    folder = run / "export" / form
    load = AutoModelForCausalLM.from_pretrained if form == "plain" else dsnot_exp.load_packed
    same(load(folder), AutoModelForCausalLM.from_pretrained(saved / "model"))
    there, here = ({f.name for f in place.iterdir()} for place in (saved / "model", folder))
    assert there - here <= {"model.safetensors"}
    recipes = [
        json.loads((place / "config.json").read_text())["dsnot_exp"]
        for place in (saved / "model", folder)
    ]
    assert recipes[0] == recipes[1]
    assert [*folder.parent.iterdir()] == [folder]


def test_moved_weights_that_are_not_kept(export: Export, command: Command, tmp_path: Path) -> None:
    words = [*toy_arguments(tmp_path), "prune=sparsegpt", "refine=none", "sparsity=0.6"]
    run = command(*words, run="moved").folder
    assert "the masks alone are kept; run its command again with save=true" in export.refused(run)
    none = command(*words, "keep=none", "rerun=true", run="moved").folder
    assert "neither its model nor its masks are there" in export.refused(none)
    assert not (run / "export").exists() or [*(run / "export").iterdir()] == []


def test_the_recipe_of_a_result_is_the_record_of_the_saved_model(saved: Saved) -> None:
    run = saved()
    result = json.loads((run / "result.json").read_text())
    record = json.loads((run / "model/config.json").read_text())["dsnot_exp"]
    assert recipe_of(result) | {"schema": 1} == record
