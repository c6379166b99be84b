"""A run whose sparse model was made before takes it from there: no forward through calibration, and
to the bit the model that a walk of its own makes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from dsnot_exp.evaluate import suite
from dsnot_exp.models.masks import load_masks
from dsnot_exp.run import sparse_store, texts
from dsnot_exp.walk import keeper
from dsnot_exp.walk.sequences import Sequences
from tests.support.command import Command, Outcome, toy_arguments
from tests.support.families import tokens

TEXT = 5  # sequences of the other text; no calibration has as many


class Looked:
    """What a run has read and computed: `walks`, with a forward; calibration sets that were
    `drawn`; `texts` whose perplexity was measured."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.walks: list[int] = []
        self.drawn: list[str] = []
        self.texts = 0
        enter, draw, measure = Sequences.enter, texts.calibration_tokens, suite.perplexity

        def entering(sequences: Sequences) -> None:
            self.walks += [sequences.count] if sequences.count else []
            enter(sequences)

        def drawing(dataset: str, *given: Any, **named: Any) -> Any:
            self.drawn.append(dataset)
            return draw(dataset, *given, **named)

        def measuring(*given: Any) -> float:
            self.texts += 1
            return measure(*given)

        monkeypatch.setattr(Sequences, "enter", entering)
        monkeypatch.setattr(texts, "calibration_tokens", drawing)
        monkeypatch.setattr(suite, "perplexity", measuring)

    def reset(self) -> None:
        self.walks, self.drawn, self.texts = [], [], 0


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> Looked:
    return Looked(monkeypatch)


def other_text(folder: Path) -> str:
    path = folder / "other.safetensors"
    if not path.exists():
        save_file({"input_ids": tokens(TEXT, 24, 5)}, path)
    return str(path)


def ok(done: Outcome) -> dict[str, Any]:
    assert done.code == 0, done.err
    return done.result


def saved(done: Outcome) -> dict[str, torch.Tensor]:
    """The tensors of the saved model."""
    shards = (load_file(file) for file in (done.folder / "model").glob("*.safetensors"))
    return {name: tensor for shard in shards for name, tensor in shard.items()}


def store_of(done: Outcome) -> Path:
    return done.folder / done.result["masks"]["folder"]


WEIGHTS = "keep=weights"
WAYS = {
    "wanda and dsnot": ("llama", []),
    "streamed": ("llama", ["model.streaming=true"]),
    "experts": ("mixtral", ["calib.min_tokens=8"]),
    "experts, streamed": ("mixtral", ["model.streaming=true", WEIGHTS, "prune=sparsegpt"]),
    "transposed": ("gpt2", []),
    "moved": ("llama", ["prune=sparsegpt", "reconstruct=cg", WEIGHTS]),
    "moved, half precision": ("llama", ["prune=alps", "model.dtype=bfloat16", WEIGHTS]),
    "trained": ("llama", ["reconstruct=block", "reconstruct.epochs=1", WEIGHTS]),
    "N:M": ("llama", ["pattern=2:4"]),
    "allocated": ("llama", ["allocate=owl", "sparsity=0.6"]),
    "chosen": ("llama", ["refine.max_cycles=auto", "calib.samples=6", "calib.held_out=2"]),
    "no calibration": ("llama", ["prune=magnitude", "refine=none"]),
}


@pytest.mark.parametrize("way", WAYS)
def test_another_question_is_answered_by_the_model_that_is_kept(
    way: str, command: Command, tmp_path: Path, looked: Looked
) -> None:
    family, options = WAYS[way]
    words = [*toy_arguments(tmp_path, family=family), *options, "eval.baselines=[dense,pruned]"]
    first = ok(command(*words, run="a"))
    asked = [*words, f"eval.perplexity=[{other_text(tmp_path)}]", "save=true"]
    looked.reset()
    second = command(*asked, run="b")
    assert ok(second)["reused_stages"] == ["sparse"]
    assert set(looked.walks) <= {TEXT}  # perplexity block by block
    assert looked.drawn == []
    fresh = command(*asked, "out=apart", run="c")
    for key in ("metrics", "masks_sha256", "sparsity", "notes", "data", "warnings"):
        assert second.result[key] == ok(fresh)[key], key
    assert second.result["masks_sha256"] == first["masks_sha256"]
    assert second.result["environment"] == fresh.result["environment"]
    one, other = saved(second), saved(fresh)
    assert one.keys() == other.keys()
    assert all(one[name].equal(other[name]) for name in one)


def test_one_more_text_costs_its_own_measurement(
    command: Command, tmp_path: Path, looked: Looked
) -> None:
    words = [*toy_arguments(tmp_path), "eval.baselines=[dense,pruned]"]
    own, other = f"{tmp_path}/test.safetensors", other_text(tmp_path)
    first = ok(command(*words, run="a"))
    assert (looked.texts, first["measured_earlier"]) == (3, {})
    looked.reset()
    more = ok(command(*words, f"eval.perplexity=[{own},{other}]", run="b"))
    assert looked.texts == 3  # of the other text: dense, pruned, refined
    assert more["reused"] == [own]
    assert more["measured_earlier"] == {"pruned": [own], "refined": [own]}
    found = more["metrics"]["perplexity"]
    assert found[own] == first["metrics"]["perplexity"][own]
    assert list(found[other]) == ["dense", "pruned", "refined"]


def test_a_finished_run_saves_its_model_and_keeps_its_times(
    command: Command, tmp_path: Path, looked: Looked
) -> None:
    words = [*toy_arguments(tmp_path), "eval.baselines=[dense,pruned]"]
    first = ok(command(*words))
    looked.reset()
    saved = command(*words, "save=true")
    assert (looked.walks, looked.drawn, looked.texts) == ([], [], 0)
    for key in ("timing_s", "memory", "metrics", "masks", "reused_stages", "measured_earlier"):
        assert ok(saved)[key] == first[key], key
    masks = load_masks(store_of(saved))
    weights = load_file(saved.folder / "model" / "model.safetensors")
    for layer, mask in masks.items():
        assert (weights[f"{layer}.weight"] == 0).equal(~mask)
    assert "already finished" in command(*words, "save=true").out


def test_lora_trains_the_model_that_is_kept(
    command: Command, tmp_path: Path, looked: Looked
) -> None:
    words = toy_arguments(tmp_path)
    first = ok(command(*words, run="a"))
    looked.reset()
    lora = ["finetune=lora", f"finetune.dataset={tmp_path}/calib.safetensors",
            "finetune.samples=4", "finetune.seqlen=24", "finetune.steps=4"]  # fmt: skip
    tuned = ok(command(*words, *lora, run="b"))
    assert looked.walks == []
    assert looked.drawn == [f"{tmp_path}/calib.safetensors"]  # for the training alone
    assert tuned["reused_stages"] == ["sparse"]
    assert tuned["measured_earlier"] == {}
    assert tuned["masks_sha256"] == first["masks_sha256"]
    fresh = ok(command(*words, *lora, "out=apart", run="c"))
    assert tuned["metrics"] == fresh["metrics"] != first["metrics"]


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-2 if path.suffix == ".safetensors" else content.index(b'"swaps": ') + 9] ^= 1
    path.write_bytes(content)


DAMAGE = {
    "a mask": ("masks/00001.safetensors", flip),
    "a record": ("sparse.json", flip),
    "an absent mask": ("masks/00002.safetensors", Path.unlink),
    "half a record": ("sparse.json", lambda path: path.write_text(path.read_text()[:99])),
    "an absent record": ("sparse.json", Path.unlink),
    "all masks": ("masks", shutil.rmtree),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_damaged_model_is_named_and_made_again(
    what: str, command: Command, tmp_path: Path, looked: Looked
) -> None:
    words = toy_arguments(tmp_path)
    first = command(*words, run="a")
    name, damage = DAMAGE[what]
    damage(store_of(first) / name)
    looked.reset()
    again = command(*words, f"eval.perplexity=[{other_text(tmp_path)}]", run="b")
    (line,) = [line for line in again.out.splitlines() if line.startswith("pruning again: ")]
    assert name in line
    assert looked.walks == [8]
    assert ok(again)["masks_sha256"] == first.result["masks_sha256"]
    assert again.result["reused_stages"] == []
    third = command(*words, "eval.seqlen=12", run="c")  # it is whole again
    assert ok(third)["reused_stages"] == ["sparse"]
    assert not list(store_of(first).parent.glob(".*.new-*"))


def test_masks_alone_do_not_restore_weights_that_moved(
    command: Command, tmp_path: Path, looked: Looked
) -> None:
    words = [*toy_arguments(tmp_path), "prune=sparsegpt"]
    other = f"eval.perplexity=[{other_text(tmp_path)}]"
    first = ok(command(*words, run="a"))
    assert (first["masks"]["kept"], first["masks"]["restores"]) == ("masks", False)
    again = command(*words, other, WEIGHTS, run="b")
    assert "has the masks alone" in again.out
    assert looked.walks == [8, 8]
    assert (ok(again)["masks"]["kept"], again.result["masks"]["restores"]) == ("weights", True)
    assert again.result["measured_earlier"] == {}
    assert again.result["masks"]["bytes"] > first["masks"]["bytes"]
    third = command(*words, other, "eval.seqlen=12", run="c")  # keep=masks leaves the weights there
    assert ok(third)["masks"]["kept"] == "weights"
    assert looked.walks == [8, 8]


def test_nothing_is_kept_where_it_is_not_wanted(
    command: Command, tmp_path: Path, looked: Looked
) -> None:
    words = toy_arguments(tmp_path)
    none = ok(command(*words, "keep=none", run="a"))
    assert none["masks"] is None
    assert not (tmp_path / "outputs" / "sparse").exists()
    kept = command(*words, "eval.seqlen=12", run="b")
    assert looked.walks == [8, 8]
    assert ok(command(*words, "keep=none", "eval.seqlen=12", run="c"))["reused_stages"] == []
    assert (looked.walks, looked.texts) == ([8, 8, 8], 3)
    again = command(*words, "eval.seqlen=12", "rerun=true", run="b")
    assert looked.walks == [8, 8, 8, 8]
    assert ok(again)["masks"] == kept.result["masks"]
    refused = command(*words, "keep=all")
    assert refused.code == 2
    assert "keep=all: choose from masks, weights, none" in refused.err


def test_other_code_prunes_again_and_says_why(
    command: Command, tmp_path: Path, looked: Looked, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = toy_arguments(tmp_path)
    first = command(*words, run="a")
    monkeypatch.setattr(sparse_store, "code_fingerprint", lambda: "other")
    again = command(*words, "eval.seqlen=12", run="b")
    assert f"{store_of(first).name} was made with another version of dsnot_exp" in again.out
    assert looked.walks == [8, 8]
    assert store_of(first) != store_of(again)
    assert load_masks(store_of(first)).keys() == load_masks(store_of(again)).keys()


def test_other_tokens_under_the_same_name_prune_again(
    command: Command, tmp_path: Path, looked: Looked, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = toy_arguments(tmp_path)
    ok(command(*words, run="a"))
    draw = texts.calibration_tokens

    def changed(*given: Any, **named: Any) -> Any:
        found = draw(*given, **named)
        found.ids.copy_(found.ids.roll(1, 0))
        return found

    monkeypatch.setattr(texts, "calibration_tokens", changed)
    again = command(*words, "eval.baselines=[pruned]", run="b")  # draws them for the pruned stage
    assert "was calibrated on another content of" in again.out
    assert looked.walks == [8, 8, 8]
    assert ok(again)["reused_stages"] == []


@pytest.mark.parametrize("failing", [1, 3, 4])
def test_a_full_disk_costs_the_kept_model_and_not_the_run(
    failing: int, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, write = [], keeper.write_shard

    def full(path: Path, tensors: Any) -> str:
        calls.append(path)
        if len(calls) >= failing:
            raise OSError(28, "No space left on device", str(path))
        return write(path, tensors)

    monkeypatch.setattr(keeper, "write_shard", full)
    words = [*toy_arguments(tmp_path), "prune=sparsegpt", WEIGHTS]
    done = command(*words)
    assert ok(done)["masks"] is None
    assert done.out.count("the sparse model cannot be kept (No space left on device)") == 1
    assert [f.suffix for f in (tmp_path / "outputs" / "sparse").iterdir()] == [".lock"]


class Stopped(BaseException):
    """As sudden as kill -9: nothing handles it."""


def test_a_resumed_run_does_not_call_its_own_model_reused(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, looked: Looked
) -> None:
    words = toy_arguments(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(suite, "perplexity", lambda *given: (_ for _ in ()).throw(Stopped))
        with pytest.raises(Stopped):
            command(*words)
    again = ok(command(*words))
    assert looked.walks == [8]
    assert (again["resumed"], again["reused_stages"]) == (1, [])
    assert again["timing_s"]["calibrate"] > 0
