"""A weight that the checkpoint lacks is never made up: it is an error before any weight is read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from dsnot_exp.config import ModelConfig
from dsnot_exp.models.loading import load_config
from dsnot_exp.models.open import check_files, open_model
from dsnot_exp.models.placement import Placed
from dsnot_exp.models.source import locate
from dsnot_exp.utils.errors import RequestError
from tests.support.families import FAMILIES, build

CPU = torch.device("cpu")
UP = "model.layers.1.mlp.up_proj.weight"
EXPERT = "model.layers.1.block_sparse_moe.experts.2.w1.weight"
Tensors = dict[str, Tensor]


def altered(folder: Path, change: Callable[[Tensors], Any], family: str = "llama") -> Path:
    """A toy whose tensors `change` alters in place, or replaces by what it returns."""
    build(family).save_pretrained(folder)
    tensors = load_file(folder / "model.safetensors")
    found = change(tensors)
    tensors = found if isinstance(found, dict) else tensors
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def opened(folder: Path, **options: Any) -> Placed:
    model = ModelConfig("local", str(folder), **options)
    return open_model(locate(model), model, CPU)


def without_head(tensors: Tensors) -> Tensors:
    return {k: v for k, v in tensors.items() if k != "lm_head.weight"}


DAMAGE: dict[str, tuple[str, Callable[[Tensors], Any], list[str]]] = {
    "a matrix": ("llama", lambda t: t.pop(UP), ["lacks 1 weight", UP]),
    "a norm around the blocks": (
        "llama", lambda t: t.pop("model.norm.weight"), ["lacks 1 weight", "model.norm.weight"],
    ),
    "the embeddings, with a head that is tied to them": (
        "llama-tied", lambda t: t.pop("model.embed_tokens.weight"), ["model.embed_tokens.weight"],
    ),
    "a prefix on every key": (
        "llama",
        lambda t: {f"language_model.{k}": v for k, v in t.items()},
        ["lacks 30 weights", "30 other tensors", "language_model.model.embed_tokens.weight"],
    ),
    "the head of a base model": (
        "llama",
        lambda t: {k.removeprefix("model."): v for k, v in without_head(t).items()},
        ["lm_head.weight", "causal language model", "tie_word_embeddings"],
    ),
    "the head of a reward model": (
        "llama",
        lambda t: {**without_head(t), "score.weight": torch.ones(1, 32)},
        ["lm_head.weight", "score.weight"],
    ),
    "one expert": ("mixtral", lambda t: t.pop(EXPERT), ["model.layers.1.mlp.experts"]),
    "another shape": (
        "llama", lambda t: t.update({UP: torch.ones(47, 32)}), [UP, "(47, 32), not (48, 32)"],
    ),
    "a vocabulary of another size": (
        "llama",
        lambda t: t.update({"model.embed_tokens.weight": torch.ones(95, 32)}),
        ["model.embed_tokens.weight is (95, 32), not (96, 32)"],
    ),
    "integers": (
        "llama",
        lambda t: t.update({UP: torch.ones(48, 32, dtype=torch.int8)}),
        [UP, "prune the unquantised model"],
    ),
    "packed weights": (
        "llama",
        lambda t: (t.pop(UP), t.update({UP.replace("weight", "qweight"): torch.ones(4, 32).int()})),
        [UP, "prune the unquantised model"],
    ),
    "eight bits": (
        "llama",
        lambda t: t.update({UP: torch.ones(48, 32).to(torch.float8_e4m3fn)}),
        ["model.safetensors", UP, "F8_E4M3", "prune the unquantised model"],
    ),
    "an adapter among the weights": (
        "llama",
        lambda t: t.update({"model.layers.0.self_attn.q_proj.lora_A.weight": torch.ones(2, 32)}),
        ["lora_A", "merge_and_unload"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_does_not_fit_is_named_before_the_weights_are_read(
    damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    family, change, words = DAMAGE[damage]
    folder = altered(tmp_path / "toy", change, family)
    model = ModelConfig("local", str(folder))
    source = locate(model)
    monkeypatch.setattr("dsnot_exp.models.shards.Shards.read", lambda *_: pytest.fail("it read"))
    with pytest.raises(RequestError) as early:
        check_files(source, model, load_config(source))
    for streaming in ("true", "false"):
        with pytest.raises(RequestError) as late:
            opened(folder, streaming=streaming)
        assert str(late.value) == str(early.value)
    for word in (f"model.path={folder}", *words):
        assert word in str(early.value)
    assert "\n" not in str(early.value)


@pytest.mark.parametrize("change", ["missing", "shape"])
def test_pickles_are_held_to_the_same(change: str, tmp_path: Path) -> None:
    build("llama").save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").unlink()
    if change == "missing":
        del tensors[UP]
    else:
        tensors[UP] = torch.ones(47, 32)
    torch.save(tensors, tmp_path / "pytorch_model.bin")
    with pytest.raises(RequestError, match=UP):
        opened(tmp_path, use_safetensors=False)


@pytest.mark.parametrize("streaming", ["true", "false"])
def test_tensors_without_a_use_are_listed(streaming: str, tmp_path: Path) -> None:
    extra = {"mtp.head": torch.ones(2), "model.layers.3.mlp.up_proj.weight": torch.ones(48, 32)}
    buffer = {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)}
    folder = altered(tmp_path / "toy", lambda t: t.update(extra | buffer))
    told = opened(folder, streaming=streaming).loaded.record()
    assert told == {"count": 2, "first": ["model.layers.3.mlp.up_proj.weight", "mtp.head"]}


@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_is_missing_from_a_model_that_was_saved(family: str, tmp_path: Path) -> None:
    build(family).save_pretrained(tmp_path)
    for streaming in ("true", "false"):
        found = opened(tmp_path, streaming=streaming).loaded
        assert found.record() == {"count": 0, "first": []}


def test_a_base_model_with_a_tied_head_streams_and_keeps_its_names(tmp_path: Path) -> None:
    folder = altered(
        tmp_path / "toy",
        lambda t: {k.removeprefix("model."): v for k, v in t.items() if "lm_head" not in k},
        "llama-tied",
    )
    found: Any = opened(folder, streaming="true")
    found.refuse_unrestorable()
    with found.fetch(found.blocks[1][1]) as block:
        assert set(found.tensors(1, block)) == set(found.checkpoint.inside[1])
        assert all(key.startswith("layers.1.") for key in found.checkpoint.inside[1])
