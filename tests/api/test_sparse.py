"""What `prune` returns, what it saves, and methods of the caller's own."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

import dsnot_exp
from dsnot_exp import ArgumentError
from dsnot_exp.methods import registry
from dsnot_exp.methods.protocols import Initial, Needs, Rows
from dsnot_exp.methods.statistics import Statistic
from dsnot_exp.tinyworld import tokenizer as tokenizer_words
from tests.support.families import build, tokens

IDS = tokens(8, 24)


@dataclass(frozen=True)
class Powered:
    """power: of the input norm; 1 is Wanda"""

    needs: ClassVar[Needs] = frozenset({Statistic.NORM})
    rows: ClassVar[Rows] = "independent"
    power: float = 0.5

    def __call__(self, weight: Tensor, statistics: Any, pattern: Any, equal_rows: bool) -> Initial:
        scores = weight.float().abs() * statistics.norm**self.power
        return Initial(pattern.mask(scores), weight, scores)


@dataclass(frozen=True)
class Nameless:
    """A pruner that does not say what it needs."""

    def __call__(self, weight: Tensor, statistics: Any, pattern: Any, equal_rows: bool) -> Any: ...


def pruned(**options: Any) -> Any:
    return dsnot_exp.prune(build("llama"), calibration=IDS, progress=False, **options)


def test_a_method_of_the_caller_s_own() -> None:
    before = {group: dict(found) for group, found in registry.OURS.items()}
    own, wanda = pruned(prune=Powered(power=1.0)), pruned(prune="wanda")
    assert own.masks_sha256 == wanda.masks_sha256
    assert own.config["prune"] == {"name": f"{__name__}.Powered", "power": 1.0}
    assert pruned(prune=Powered()).masks_sha256 != wanda.masks_sha256
    with pytest.raises(ArgumentError, match=r"prune=Nameless\(\) has no needs; a Pruner has needs"):
        pruned(prune=Nameless())
    assert before == registry.OURS


def test_a_file_of_methods_is_read_anew(tmp_path: Path) -> None:
    source = Path(__file__).read_text().partition("@dataclass(frozen=True)\nclass Nameless")[0]
    source = source.replace("from tests.support.families import build, tokens\n", "")
    source = source.replace("IDS = tokens(8, 24)\n", "") + 'METHODS = {"prune=powered": Powered}\n'
    file = tmp_path / "mine.py"
    file.write_text(source.replace("= 0.5", "= 1.0"))
    first = pruned(prune="powered", plugins=str(file), refine=None)
    assert first.masks_sha256 == pruned(refine=None).masks_sha256
    file.write_text(source)
    again = pruned(prune={"name": "powered"}, plugins=[str(file)], refine=None)
    assert again.masks_sha256 != first.masks_sha256
    with pytest.raises(ArgumentError, match="prune=powered: choose from"):
        pruned(prune="powered")


def test_masks_and_tables_agree_with_the_weights() -> None:
    sparse = pruned(sparsity=0.75)
    assert list(sparse.masks) == sparse.layers.layer.tolist()
    assert len(sparse.masks) == 21
    for layer, zeros in zip(sparse.layers.layer, sparse.layers.zeros, strict=True):
        weight, mask = sparse.model.get_parameter(f"{layer}.weight"), sparse.masks[layer]
        assert mask.dtype == torch.bool
        assert mask.shape == weight.shape
        assert torch.equal(weight != 0, mask)
        assert int((~mask).sum()) == zeros
    assert "nothing" not in sparse.masks
    assert sparse.sparsity == 0.75
    assert (sparse.layers.seconds > 0).all()
    assert sparse.seconds["calibrate"] > 0
    assert repr(sparse) == (
        "<LlamaForCausalLM pruned by Wanda + DSnoT: 75.0% zeros in 21 layers, masks "
        f"{sparse.masks_sha256[:8]}>"
    )
    assert "<table" in sparse._repr_html_()


def test_all_rows_of_token_ids_are_used() -> None:
    """Also as held-out sequences, where something is chosen on those."""
    data = pruned(refine=None).data
    assert (data["sequences"], data["seqlen"], data.get("held_out")) == (8, 24, None)
    data = pruned(refine="dsnot").data
    assert (data["sequences"], data["held_out"]) == (7, 1)
    data = pruned(refine="dsnot", held_out=3, seqlen=12).data
    assert (data["sequences"], data["seqlen"], data["held_out"]) == (13, 12, 3)
    rows = [IDS[:4].numpy().tolist(), IDS[:4].numpy(), list(IDS[:4]), {"input_ids": IDS[:4]}]
    found = {
        dsnot_exp.prune(build("llama"), calibration=row, refine=None, progress=False).masks_sha256
        for row in rows
    }
    assert len(found) == 1


def test_a_model_that_stays_dense_in_part(tmp_path: Path) -> None:
    sparse = pruned(dense="mlp", refine=None)
    assert not any("mlp" in layer for layer in sparse.masks)
    weight = build("llama").get_parameter("model.layers.0.mlp.up_proj.weight")
    assert torch.equal(sparse.model.get_parameter("model.layers.0.mlp.up_proj.weight"), weight)


def test_a_saved_model_is_loaded_by_transformers_alone(tmp_path: Path) -> None:
    tokenizer = tokenizer_words.build()
    model = build("llama-tied", vocab_size=len(tokenizer)).to(torch.bfloat16)
    sparse = dsnot_exp.prune(model, tokenizer, calibration=IDS, progress=False)
    place = sparse.save_pretrained(tmp_path / "deep" / "out")
    loaded = AutoModelForCausalLM.from_pretrained(place, dtype="auto")
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
    assert AutoTokenizer.from_pretrained(place)("anna")["input_ids"] == tokenizer("anna").input_ids
    assert os.listdir(place.parent) == ["out"]
    with pytest.warns(UserWarning, match="already sparse before this run pruned it: .* by Wanda"):
        again = dsnot_exp.prune(loaded, calibration=IDS, progress=False, sparsity=0.7)
    with pytest.raises(ArgumentError, match="holds a sparse model; give overwrite=True"):
        again.save_pretrained(place)
    again.save_pretrained(place, overwrite=True)
    assert os.listdir(place.parent) == ["out"]
    saved = AutoModelForCausalLM.from_pretrained(place).get_parameter("model.norm.weight")
    assert torch.equal(saved, again.model.get_parameter("model.norm.weight").to(saved.dtype))


def test_nothing_else_is_overwritten(tmp_path: Path) -> None:
    sparse = pruned()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    for folder, message in (("mine", "holds other files"), ("mine/notes.txt", "a file; give a")):
        with pytest.raises(ArgumentError, match=message):
            sparse.save_pretrained(tmp_path / folder, overwrite=True)
    assert (tmp_path / "mine" / "notes.txt").read_text() == "mine"
    (tmp_path / "empty").mkdir()
    sparse.save_pretrained(tmp_path / "empty")
    sparse.model.get_parameter("model.layers.0.mlp.up_proj.weight").data.fill_(1)
    with pytest.raises(ArgumentError, match="up_proj is no longer sparse as it was pruned"):
        sparse.save_pretrained(tmp_path / "changed")
    assert not (tmp_path / "changed").exists()


def test_a_save_that_fails_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sparse = pruned()
    place = sparse.save_pretrained(tmp_path / "out")
    before = {file.name: file.read_bytes() for file in place.iterdir()}

    def full(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("dsnot_exp.models.save.write_record", full)
    with pytest.raises(KeyboardInterrupt):
        sparse.save_pretrained(place, overwrite=True)
    assert {file.name: file.read_bytes() for file in place.iterdir()} == before
    assert os.listdir(tmp_path) == ["out"]


def test_a_save_killed_between_its_renames_loses_nothing(tmp_path: Path) -> None:
    sparse = pruned()
    place = sparse.save_pretrained(tmp_path / "out")
    (tmp_path / ".out.dsnot_exp-abc").mkdir()
    place.rename(tmp_path / ".out.dsnot_exp-old")
    with pytest.raises(ArgumentError, match="holds a sparse model"):
        sparse.save_pretrained(place)
    assert os.listdir(tmp_path) == ["out"]
    assert (place / "model.safetensors").is_file()
