"""`runs show` says what the weights take on disk, and measures the time per token on request."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dsnot_exp.runs.find import look
from dsnot_exp.runs.weights import measured, weight_lines
from dsnot_exp.utils.errors import RequestError
from tests.support.command import Command, toy_arguments


def file(path: Path, size: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))


def test_the_sizes_of_the_weights(tmp_path: Path) -> None:
    file(tmp_path / "model/model.safetensors", 4096)
    file(tmp_path / "model/tokenizer.json", 9999)
    file(tmp_path / "export/bitmask/packed-00001.safetensors", 1024)
    file(tmp_path / "export/bitmask/packed-00002.safetensors", 1024)
    file(tmp_path / "export/.plain.0123.x/model.safetensors", 4096)  # left by a killed export
    file(tmp_path / "error.txt", 0)
    assert [text for _, text in weight_lines(look(tmp_path, tmp_path), None)] == [
        "model 4.0 KiB, as much as the dense model",
        "export/bitmask 2.0 KiB, 0.500 of the dense model",
    ]


def test_equal_models_are_said_to_be_equally_fast(command: Command, tmp_path: Path) -> None:
    run = command(*toy_arguments(tmp_path), "sparsity=0.6", run="made").folder
    speed = measured(look(run, run))
    assert 0 < speed["sparse"] < 10
    assert json.loads(json.dumps(speed))["ratio"] == speed["ratio"]
    speed |= {"ratio": 1.01, "spread": (0.98, 1.02), "same": True}
    lines = dict(weight_lines(look(run, run), speed))
    assert "sparse / dense 1.010 (0.980 to 1.020)" in lines["per token"]
    assert "multiplies by the zeros too" in lines[""]
    assert "one sequence, 32 tokens of prompt, 24 generated, float32 on cpu" in lines["measured"]
    faster = dict(weight_lines(look(run, run), speed | {"same": False}))
    assert "" not in faster


def test_a_run_without_a_model_is_not_measured(tmp_path: Path) -> None:
    file(tmp_path / "error.txt", 0)
    with pytest.raises(RequestError, match="has no result"):
        measured(look(tmp_path, tmp_path))
