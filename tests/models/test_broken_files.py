"""What a download left broken is named with its file, before anything is loaded."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from dsnot_exp.config import ModelConfig
from dsnot_exp.models.files import shard_files
from dsnot_exp.models.loading import load_config, load_tokenizer, refuse_broken_tokenizer
from dsnot_exp.models.open import check_files
from dsnot_exp.models.source import Source, locate
from dsnot_exp.tinyworld import tokenizer as words
from dsnot_exp.utils.errors import RequestError
from tests.support.families import build

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:5eed\nsize 999\n"
INDEX = "model.safetensors.index.json"
SHARD = "model-00003-of-00008.safetensors"


def check(folder: Path, **options: bool) -> None:
    model = ModelConfig("local", str(folder), **options)
    source = locate(model)
    check_files(source, model, load_config(source))


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-9])


def lengthened(file: Path) -> None:
    """A header that gives a tensor more bytes than its shape has."""
    data = file.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    header["model.norm.weight"]["shape"] = [1]
    text = json.dumps(header).encode().ljust(size)
    file.write_bytes(data[:8] + text[:size] + data[8 + size :])


Break = Callable[[Path], object]
WHOLE: dict[str, tuple[str, Break, str]] = {
    "pointer": ("model.safetensors", lambda f: f.write_bytes(POINTER), "git lfs pull"),
    "empty": ("model.safetensors", lambda f: f.write_bytes(b""), "is empty"),
    "junk": ("model.safetensors", lambda f: f.write_bytes(b"junk" * 30), "not a safetensors file"),
    "cut": ("model.safetensors", cut, "truncated"),
    "header": ("model.safetensors", lengthened, "not a safetensors file"),
    "config pointer": ("config.json", lambda f: f.write_bytes(POINTER), "git lfs pull"),
    "config empty": ("config.json", lambda f: f.write_bytes(b""), "is empty"),
    "config junk": ("config.json", lambda f: f.write_bytes(b"{"), "cannot be read as JSON"),
}
SHARDED: dict[str, tuple[str, Break, str]] = {
    "absent": (SHARD, Path.unlink, "is missing"),
    "pointer": (SHARD, lambda f: f.write_bytes(POINTER), "git lfs pull"),
    "cut": (SHARD, cut, "truncated"),
    "no index": (INDEX, Path.unlink, "is in the folder"),
    "index junk": (INDEX, lambda f: f.write_bytes(b"{"), "cannot be read as JSON"),
    "index pointer": (INDEX, lambda f: f.write_bytes(POINTER), "git lfs pull"),
    "index list": (INDEX, lambda f: f.write_bytes(b"[1]"), "no JSON object"),
    "no shards": (INDEX, lambda f: f.write_bytes(b'{"weight_map": {}}'), "no weight_map"),
}


@pytest.mark.parametrize("damage", [*WHOLE, *(f"sharded {name}" for name in SHARDED)])
def test_a_broken_file_is_named_with_the_remedy(damage: str, tmp_path: Path) -> None:
    is_whole = damage in WHOLE
    file, break_it, message = WHOLE[damage] if is_whole else SHARDED[damage[len("sharded ") :]]
    build("llama").save_pretrained(tmp_path, max_shard_size="5GB" if is_whole else "20KB")
    check(tmp_path)
    break_it(tmp_path / file)
    with pytest.raises(RequestError, match=message) as told:
        check(tmp_path)
    assert str(told.value).startswith(f"model.path={tmp_path}: ")
    assert file in str(told.value)
    assert "\n" not in str(told.value)


def test_a_single_file_goes_before_an_index_as_in_transformers(tmp_path: Path) -> None:
    build("llama").save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(shard_files(Source(str(tmp_path))) or []) > 1
    build("llama").save_pretrained(tmp_path / "whole")
    (tmp_path / "whole" / "model.safetensors").rename(tmp_path / "model.safetensors")
    assert shard_files(Source(str(tmp_path))) == [tmp_path / "model.safetensors"]


@pytest.mark.parametrize("damage", ["pointer", "cut", "absent"])
def test_pickles_are_checked_too(damage: str, tmp_path: Path) -> None:
    build("llama").save_pretrained(tmp_path)
    file = tmp_path / "pytorch_model.bin"
    torch.save(load_file(tmp_path / "model.safetensors"), file)
    check(tmp_path, use_safetensors=False)
    if damage == "pointer":
        file.write_bytes(POINTER)
    elif damage == "cut":
        cut(file)
    else:
        file.unlink()
    with pytest.raises(RequestError, match=r"pytorch_model\.bin is"):
        check(tmp_path, use_safetensors=False)


def test_pointers_beside_the_files_that_are_used_do_not_matter(tmp_path: Path) -> None:
    build("llama").save_pretrained(tmp_path)
    words.build().save_pretrained(tmp_path)
    for unused in ("pytorch_model.bin", "consolidated.safetensors", "tokenizer.model"):
        (tmp_path / unused).write_bytes(POINTER)
    check(tmp_path)
    refuse_broken_tokenizer(Source(str(tmp_path)))


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
@pytest.mark.parametrize("content", [POINTER, b""])
def test_a_broken_tokenizer_is_named(name: str, content: bytes, tmp_path: Path) -> None:
    words.build().save_pretrained(tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(RequestError, match=name):
        refuse_broken_tokenizer(Source(str(tmp_path)))


def test_a_tokenizer_of_another_model_is_refused(tmp_path: Path) -> None:
    tokenizer = words.build()
    tokenizer.save_pretrained(tmp_path)
    rows = len(tokenizer)
    load_tokenizer(Source(str(tmp_path)), rows)
    with pytest.raises(RequestError, match=f"has {rows} entries and the model's vocabulary 96"):
        load_tokenizer(Source(str(tmp_path)), 96)


def test_added_tokens_may_lie_beyond_the_embeddings(tmp_path: Path) -> None:
    """Gemma 3 has an image token there, which no text contains."""
    tokenizer = words.build()
    rows = len(tokenizer)
    tokenizer.add_tokens(["<image>"], special_tokens=True)
    tokenizer.save_pretrained(tmp_path)
    assert len(load_tokenizer(Source(str(tmp_path)), rows)) == rows + 1
