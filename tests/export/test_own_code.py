"""A model that comes with its own code takes it along into every format."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM

import dsnot_exp
from tests.export.conftest import Export
from tests.export.test_export import same
from tests.support.command import Command, toy_arguments

Saved = Callable[..., Path]
CONFIG = """
from transformers import LlamaConfig

class Config(LlamaConfig):
    model_type = "custom"
"""
MODEL = """
from transformers import LlamaForCausalLM

from .own_config import Config

class Model(LlamaForCausalLM):
    config_class = Config
"""


@pytest.mark.parametrize("streaming", ["false", "true"])
def test_the_code_of_a_model_comes_along(
    streaming: str, export: Export, command: Command, tmp_path: Path
) -> None:
    words = [*toy_arguments(tmp_path), "refine=none", "sparsity=0.6", "save=true"]
    config = json.loads((tmp_path / "toy/config.json").read_text()) | {
        "model_type": "custom",
        "auto_map": {"AutoConfig": "own_config.Config", "AutoModelForCausalLM": "own_model.Model"},
    }
    (tmp_path / "toy/config.json").write_text(json.dumps(config))
    (tmp_path / "toy/own_config.py").write_text(CONFIG)
    (tmp_path / "toy/own_model.py").write_text(MODEL)
    words += ["model.trust_remote_code=true", f"model.streaming={streaming}"]
    done = command(*words, run="made")
    assert done.code == 0, done.err
    export.fine(done.folder, "--format", "bitmask")
    packed = done.folder / "export/bitmask"
    assert {file.name for file in packed.glob("*.py")} == {"own_config.py", "own_model.py"}
    plain = AutoModelForCausalLM.from_pretrained(done.folder / "model", trust_remote_code=True)
    same(plain, dsnot_exp.load_packed(packed, trust_remote_code=True))
