"""Blocks that come from the checkpoint's shards and go to the sparse model's: the same masks, the
same weights, one block in memory."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoModelForCausalLM

from dsnot_exp.config import ModelConfig
from dsnot_exp.models.open import stream, streams
from dsnot_exp.models.shards import Shards, digest, write_shard
from dsnot_exp.models.source import Source
from dsnot_exp.models.streamed import Streamed
from dsnot_exp.utils.errors import RunError
from tests.support.command import Command, toy_arguments
from tests.support.families import FAMILIES, build

CPU = torch.device("cpu")


def streamed(folder: Path, **options: str) -> Streamed:
    return stream(Source(str(folder)), ModelConfig("local", str(folder), **options), CPU)


def in_memory(block: nn.Module) -> bool:
    return not any(p.is_meta for p in block.parameters())


@pytest.mark.parametrize("family", [f for f in FAMILIES if f != "llama4_text"])
def test_every_block_is_the_checkpoints_and_goes_back_under_its_names(
    family: str, tmp_path: Path
) -> None:
    model = build(family)
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    found = streamed(tmp_path)
    known = model.state_dict()
    for key, value in found.model.state_dict().items():
        if not key.startswith(f"{found.blocks[0]}."):
            assert torch.equal(value, known[key]), key
    stored = {k: t for file in tmp_path.glob("*.safetensors") for k, t in load_file(file).items()}
    for index, block in enumerate(found.blocks[1]):
        with found.fetch(block) as module:
            assert in_memory(module)
            assert not any(in_memory(b) for b in found.blocks[1] if b is not block)
            for key, value in module.state_dict().items():
                assert torch.equal(value, known[f"{found.blocks[0]}.{index}.{key}"]), key
            back = found.tensors(index, module)
            assert set(back) == set(found.checkpoint.inside[index])
            for key, value in back.items():
                assert torch.equal(value, stored[key]), key
        assert not in_memory(block)


FORMS = ["llama", "gpt2", "mixtral", "gemma2", "llama-tied", "gpt_oss", "opt"]


@pytest.mark.parametrize("family", FORMS)
def test_a_streamed_run_gives_what_a_run_in_memory_gives(
    family: str, command: Command, tmp_path: Path
) -> None:
    words = [*toy_arguments(tmp_path, family=family), "eval.baselines=[dense,pruned]", "save=true"]
    words += ["calib.min_tokens=4", "keep=none"]  # or the second run takes the first one's model
    whole = command(*words, run="a")
    parts = command(*words, "model.streaming=true", "calib.states=disk", run="b")
    assert whole.code == 0, whole.err
    assert parts.code == 0, parts.err
    assert parts.result["masks_sha256"] == whole.result["masks_sha256"]
    assert parts.result["config_hash"] == whole.result["config_hash"]
    assert parts.result["metrics"] == whole.result["metrics"]
    assert parts.result["sparsity"] == whole.result["sparsity"]
    assert not (parts.folder / "state").exists()
    models = [AutoModelForCausalLM.from_pretrained(o.folder / "model") for o in (whole, parts)]
    for (name, a), (other, b) in zip(*(m.state_dict().items() for m in models), strict=True):
        assert name == other
        assert torch.equal(a, b), name
    assert models[0].config.to_dict() | {"_name_or_path": ""} == models[1].config.to_dict() | {
        "_name_or_path": ""
    }


def test_a_block_is_read_once_and_the_next_meanwhile(tmp_path: Path) -> None:
    build("llama").save_pretrained(tmp_path)
    found = streamed(tmp_path)
    shards, readers = found.checkpoint.shards, []
    read = shards.read
    found.checkpoint.shards.read = lambda names, pinned=False: (  # type: ignore[method-assign]
        readers.append(threading.current_thread().name),
        read(names, pinned),
    )[1]
    sizes = [sum(shards.entries[k].length for k in keys) for keys in found.checkpoint.inside]
    before = shards.bytes_read
    for block in found.blocks[1]:
        with found.fetch(block):
            pass
    assert shards.bytes_read - before == sum(sizes)
    assert [name.startswith("read") for name in readers] == [False, True, True]


def test_auto_streams_what_would_fill_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build("llama").save_pretrained(tmp_path)
    source, options = Source(str(tmp_path)), ModelConfig("local", str(tmp_path))
    assert not streams(source, options)

    class Little:
        available = 1000

    monkeypatch.setattr("psutil.virtual_memory", lambda: Little)
    assert streams(source, options)


def test_a_weight_that_is_no_number_is_named(tmp_path: Path) -> None:
    build("llama").save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    tensors = load_file(path)
    key = "model.layers.1.mlp.up_proj.weight"
    tensors[key][0, 0] = torch.nan
    save_file(tensors, path)
    found = streamed(tmp_path)
    with pytest.raises(RunError, match=key), found.fetch(found.blocks[1][1]):
        pass


def test_names_that_cannot_be_restored_are_refused_before_any_work(tmp_path: Path) -> None:
    build("mixtral").save_pretrained(tmp_path)
    found = streamed(tmp_path)
    found.refuse_unrestorable()
    assert not any(in_memory(block) for block in found.blocks[1])
    odd = found.checkpoint.inside[2].pop()
    with pytest.raises(RunError, match=odd):
        found.refuse_unrestorable()


def test_shards_are_safetensors_files(tmp_path: Path) -> None:
    given = {
        "a": torch.randn(3, 5), "b": torch.randn(7).bfloat16(), "c": torch.tensor(3),
        "d": torch.tensor([True, False]), "e": torch.zeros(0, 4), "f": torch.randn(4, 6).T,
    }  # fmt: skip
    path = tmp_path / "x.safetensors"
    told = write_shard(path, given)
    assert told == digest(path)
    for found in (load_file(path), Shards([path]).read(given)):
        for name, tensor in given.items():
            assert torch.equal(found[name], tensor)
            assert found[name].dtype == tensor.dtype
    other = tmp_path / "y.safetensors"
    save_file({k: t.contiguous() for k, t in given.items()}, other)
    assert torch.equal(Shards([other]).read(["f"])["f"], given["f"])
