"""What a user may type by mistake: exit codes, one line per error, nothing written but the log."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.support.command import Command, toy_arguments, toy_folder
from tests.support.families import tokens

BAD = [
    (["sparsity=1.5"], r"sparsity=1\.5"),
    (["sparsity=-0.1"], r"sparsity=-0\.1"),
    (["sparsity=abc"], r"sparsity.*abc|abc.*sparsity"),
    (["sparsty=0.5"], r"sparsty"),
    (["+sparsty=0.5"], r"sparsty: no such option"),
    (["+eval.task=[boolq]"], r"eval\.task: no such option"),
    (["refine=none", "refine.max_cycles=5"], r"refine\.max_cycles: no such option; `python"),
    (["prune=wandaa"], r"prune/wandaa.*magnitude.*none.*wanda"),
    (["refine.dmp=1"], r"dmp"),
    (["refine.max_cycles=abc"], r"refine\.max_cycles.*abc"),
    (["pattern=4:2"], r"pattern=4:2"),
    (["pattern=0:4"], r"pattern=0:4"),
    (["pattern=2:4", "sparsity=0.7"], r"sparsity=0\.7.*pattern=2:4"),
    (["model=local"], r"model\.path is missing"),
    (["model=local", "model.path=/no/such/folder"], r"model\.path=/no/such/folder: no such"),
    (["calib.dataset=missing.txt"], r"calib\.dataset=missing\.txt: no such file"),
    (["calib.dataset=moon"], r"calib\.dataset=moon: choose from wikitext2"),
    (["calib.samples=0"], r"calib\.samples=0"),
    (["calib.seqlen=100000"], r"calib\.seqlen=100000: this model has 512 positions"),
    (["calib.seqlen=0"], r"calib\.seqlen=0"),
    (["refine.max_cycles=-1"], r"refine\.max_cycles=-1"),
    (["refine.grow=most"], r"refine\.grow=most: choose from"),
    (["refine.skip=[attention]"], r"refine\.skip=attention: matches no layer"),
    (["model.dtype=int8"], r"model\.dtype=int8: choose from auto"),
    (["eval.baselines=[raw]"], r"eval\.baselines=raw: choose from dense, pruned"),
    (["eval.perplexity=[moon]"], r"eval\.perplexity=moon"),
    (["eval.tasks=[tw_wher]"], r"eval\.tasks=tw_wher: .*did you mean tw_where"),
    (["relative_error=some"], r"relative_error=some: choose from sample, true, false"),
    (["eval.streaming=maybe"], r"eval\.streaming=maybe: choose from auto, true, false"),
    (["eval.num_fewshot=-1"], r"eval\.num_fewshot=-1"),
    (["device=tpu"], r"device=tpu"),
    (["wandb.mode=on"], r"wandb\.mode=on"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "line"), BAD, ids=[" ".join(w) for w, _ in BAD])
def test_bad_requests_print_one_line_and_leave_only_the_log(
    command: Command, words: list[str], line: str
) -> None:
    done = command(*words)
    assert done.code == 2
    assert re.search(line, done.err), done.err
    assert done.err.count("\n") == 1, done.err
    assert done.err.startswith("dsnot_exp: ")
    assert {p.name for p in done.folder.glob("**/*")} <= {"dsnot_exp.log", ".lock"}


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
        ("broken.jsonl", "{}\n", 'with a "text" field'),
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
