"""What a user may type by mistake: exit codes, one line per error, nothing left behind."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.support.command import Command, toy_arguments, toy_folder
from tests.support.families import tokens


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_missing_device_is_refused(command: Command) -> None:
    done = command("device=cuda")
    assert done.code == 2
    assert re.search(r"device=cuda: this machine has 0 CUDA devices.*device=cpu", done.err)


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("empty.txt", "", "the file is empty"),
        ("short.txt", "the lamp is in the cellar .", "shorter than one sequence"),
        ("broken.jsonl", "{}\n", 'no field "text"'),
        ("short.jsonl", '{"text": "the lamp"}\n', "none longer than one sequence"),
        ("latin.txt", b"caf\xe9 " * 500, "not UTF-8 text"),
        ("broken.safetensors", b"12345678901234567890", "not a readable .safetensors"),
    ],
)
def test_bad_calibration_files(
    command: Command, tmp_path: Path, name: str, text: str | bytes, line: str
) -> None:
    (tmp_path / name).write_bytes(text.encode() if isinstance(text, str) else text)
    done = command(f"calib.dataset={tmp_path / name}")
    assert done.code == 2
    assert f"calib.dataset={tmp_path / name}" in done.err
    assert line in done.err
    assert done.err.count("\n") == 1


def test_bad_model_folders(command: Command, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = command("model=local", f"model.path={tmp_path}/empty")
    assert (done.code, "not a model folder" in done.err) == (2, True)
    folder = toy_folder(tmp_path / "pickled")
    torch.save({}, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    done = command("model=local", f"model.path={folder}")
    assert (done.code, "model.use_safetensors=false" in done.err) == (2, True)


@pytest.mark.parametrize("place", ["/proc/nowhere", "file/below"])
def test_an_unwritable_output_folder_is_refused(
    command: Command, tmp_path: Path, place: str
) -> None:
    (tmp_path / "file").write_text("")
    done = command(run=str(tmp_path / place))
    assert done.code == 2
    assert done.err.count("\n") == 1
    assert "hydra.run.dir" in done.err


def test_widths_that_m_does_not_divide_are_refused(command: Command, tmp_path: Path) -> None:
    done = command(*toy_arguments(tmp_path, intermediate_size=42), "pattern=2:4")
    assert done.code == 2
    assert "model.layers.0.mlp.down_proj has 42 inputs" in done.err


def test_tokens_outside_the_vocabulary_are_refused(command: Command, tmp_path: Path) -> None:
    words = toy_arguments(tmp_path)
    save_file({"input_ids": tokens(8, 24) + 90}, tmp_path / "calib.safetensors")
    done = command(*words)
    assert done.code == 2
    assert "vocabulary has 96" in done.err


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_and_infinite_weights_name_the_parameter(
    command: Command, tmp_path: Path, value: float
) -> None:
    words = toy_arguments(tmp_path)
    path = tmp_path / "toy" / "model.safetensors"
    weights = load_file(path)
    weights["model.layers.1.mlp.up_proj.weight"][3, 4] = value
    save_file(weights, path, {"format": "pt"})
    done = command(*words)
    assert done.code == 1
    assert "model.layers.1.mlp.up_proj.weight" in done.err
    assert done.err.count("\n") == 1
    log = (done.folder / "dsnot_exp.log").read_text()
    assert "Traceback" in log
    assert not (done.folder / "result.json").exists()


def test_activations_that_overflow_name_the_layer(command: Command, tmp_path: Path) -> None:
    words = toy_arguments(tmp_path)
    path = tmp_path / "toy" / "model.safetensors"
    weights = load_file(path)
    weights["model.layers.1.input_layernorm.weight"].fill_(3e38)
    save_file(weights, path, {"format": "pt"})
    for prune in ("wanda", "none"):
        done = command(*words, f"prune={prune}")
        assert done.code == 1
        assert "model.layers.1." in done.err
