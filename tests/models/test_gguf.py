"""A model in one .gguf file: loaded dequantised, pruned, saved plain; or refused in words."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from dsnot_exp.config import ModelConfig
from dsnot_exp.models.gguf_header import Cut, tensor_kinds
from dsnot_exp.models.loading import load_config, load_model, load_tokenizer
from dsnot_exp.models.open import check_files, open_model
from dsnot_exp.models.source import Source, locate
from dsnot_exp.run.content import model_fingerprint
from dsnot_exp.utils.errors import RequestError, RunError
from tests.support.gguf_file import gguf_file

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The quantised file that tests copy; none of them changes it."""
    file = tmp_path_factory.mktemp("gguf") / "toy.gguf"
    gguf_file(file)
    return file


def located(path: Path, **options: str) -> Source:
    model = ModelConfig("local", str(path), **options)
    source = locate(model)
    check_files(source, model, load_config(source))
    return source


def test_the_weights_are_the_files(tmp_path: Path) -> None:
    whole = gguf_file(tmp_path / "toy.gguf", quantised=False).state_dict()
    model, report = load_model(located(tmp_path / "toy.gguf"), "auto", use_safetensors=True)
    assert not report.unexpected
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, whole[name]), name


def test_a_quantised_file_becomes_a_plain_model(made: Path, tmp_path: Path) -> None:
    source = located(made)
    placed = open_model(source, ModelConfig("local", str(made)), CPU)
    placed.model.save_pretrained(tmp_path)
    assert "quant" not in (tmp_path / "config.json").read_text()
    again, info = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    for name, tensor in again.state_dict().items():
        assert torch.equal(tensor, placed.model.state_dict()[name]), name
    tokenizer = load_tokenizer(source, placed.model.config.vocab_size)
    assert tokenizer.decode(tokenizer("this")["input_ids"], skip_special_tokens=True) == "this"


def test_a_folder_with_one_file_is_that_file(made: Path, tmp_path: Path) -> None:
    shutil.copy(made, tmp_path / "toy.gguf")
    shutil.copy(made, tmp_path / "mmproj-toy.gguf")
    assert located(tmp_path) == Source(str(tmp_path), gguf="toy.gguf")
    shutil.copy(made, tmp_path / "other.gguf")
    with pytest.raises(RequestError, match="several") as told:
        located(tmp_path)
    assert f"model.path={tmp_path}/other.gguf" in str(told.value)


def test_it_cannot_be_streamed(made: Path) -> None:
    with pytest.raises(RequestError, match=r"model\.streaming=true"):
        located(made, streaming="true")


DAMAGE: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "cut": (lambda data: data[:-1000], "download it again"),
    "cut in the header": (lambda data: data[:500], "download it again"),
    "empty": (lambda data: b"", "is empty"),
    "pointer": (lambda data: b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    "junk": (lambda data: b"junk" * 20, "not a GGUF file"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_broken_file_is_named(damage: str, made: Path, tmp_path: Path) -> None:
    change, remedy = DAMAGE[damage]
    (tmp_path / "toy.gguf").write_bytes(change(made.read_bytes()))
    with pytest.raises(RequestError, match=remedy) as told:
        located(tmp_path)
    assert f"model.path={tmp_path}/toy.gguf" in str(told.value)


def test_one_part_of_a_split_model_is_refused(made: Path, tmp_path: Path) -> None:
    for part in (1, 2):
        shutil.copy(made, tmp_path / f"toy-0000{part}-of-00002.gguf")
    with pytest.raises(RequestError, match="llama-gguf-split --merge"):
        located(tmp_path)


def test_a_missing_tensor_is_not_made_up(tmp_path: Path) -> None:
    gguf_file(tmp_path / "toy.gguf", without="blk.1.ffn_up.weight")
    with pytest.raises(RequestError, match=r"lacks 1 weight \(model\.layers\.1\.mlp\.up_proj"):
        open_model(located(tmp_path), ModelConfig("local", str(tmp_path)), CPU)


def test_the_package_is_named_if_it_is_not_installed(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "gguf"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises((RequestError, RunError), match="pip install gguf"):
        load_model(located(made), "auto", use_safetensors=True)


def test_its_content_identifies_it(made: Path, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        shutil.copy(made, tmp_path / folder / "toy.gguf")
    (tmp_path / "b" / "other.json").write_text(json.dumps({"beside": 1}))
    first, same = (located(tmp_path / folder / "toy.gguf") for folder in ("a", "b"))
    assert model_fingerprint(first) == model_fingerprint(same)
    data = bytearray(made.read_bytes())
    data[-1] ^= 1
    (tmp_path / "b" / "toy.gguf").write_bytes(data)
    assert model_fingerprint(first) != model_fingerprint(same)


def test_a_type_that_cannot_be_dequantised_is_refused_before_anything_is_read(
    made: Path, tmp_path: Path
) -> None:
    """In the header: the name, two dimensions, and the type: 8 is Q8_0; 9 (Q8_1) and 999 are not
    readable."""
    name = b"blk.0.ffn_up.weight"
    data = made.read_bytes()
    assert dict(tensor_kinds(made))[name.decode()] == 8
    at = data.index(name) + len(name) + 4 + 2 * 8
    for kind, label in ((9, "Q8_1"), (999, "type 999")):
        other = data[:at] + kind.to_bytes(4, "little") + data[at + 4 :]
        (tmp_path / "toy.gguf").write_bytes(other)
        with pytest.raises(RequestError, match=rf"{name.decode()} .*{label}, which gguf .*Q8_0"):
            located(tmp_path)


@pytest.mark.parametrize("place", [16, 24])
def test_a_damaged_length_is_no_trouble(place: int, made: Path, tmp_path: Path) -> None:
    """The number of values, and the length of the first key."""
    data = bytearray(made.read_bytes())
    data[place : place + 8] = b"\xff" * 8
    (tmp_path / "toy.gguf").write_bytes(data)
    with pytest.raises(Cut):
        list(tensor_kinds(tmp_path / "toy.gguf"))
