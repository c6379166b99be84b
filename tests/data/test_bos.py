"""BOS at the start of every sequence, for the models that need it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoConfig

from dsnot_exp.data import corpora
from dsnot_exp.data.bos import Bos, bos_of
from dsnot_exp.data.load import calibration_tokens, evaluation_tokens
from dsnot_exp.utils.errors import RequestError

BOS = 1
ON = Bos("calib.bos", "true", None, BOS)


class Characters:
    """A token per character, after BOS, as Gemma's and Llama's tokenizers do."""

    bos_token_id = BOS

    def __init__(self) -> None:
        self.init_kwargs: dict[str, Any] = {}

    def __call__(
        self, text: str, verbose: bool = True, add_special_tokens: bool = True
    ) -> dict[str, list[int]]:
        return {"input_ids": [BOS] * add_special_tokens + [ord(c) for c in text]}

    def get_vocab(self) -> dict[str, int]:
        return {}


def text_of(length: int) -> str:
    return "".join(chr(0x4E00 + place) for place in range(length))


@pytest.mark.parametrize(
    ("family", "needs"),
    [("gemma", True), ("gemma2", True), ("gemma3", True), ("gemma3_text", True), ("gemma3n", True),
     ("recurrent_gemma", True), ("paligemma", True), ("vaultgemma", True),
     ("llama", False), ("opt", False), ("qwen3", False), ("cohere", False)],
)  # fmt: skip
def test_auto_is_for_the_gemma_families(family: str, needs: bool) -> None:
    config = AutoConfig.for_model(family)
    assert bos_of("calib.bos", "auto", config, Characters()).wanted is needs
    assert bos_of("calib.bos", "true", config, Characters()).wanted
    assert not bos_of("calib.bos", "false", config, Characters()).wanted


def test_a_tokenizer_without_bos() -> None:
    gemma, llama = AutoConfig.for_model("gemma"), AutoConfig.for_model("llama")
    without = SimpleNamespace(bos_token_id=None)
    for config in (gemma, llama):
        with pytest.raises(RequestError, match=r"^eval\.bos=true: the tokenizer has no bos_token"):
            bos_of("eval.bos", "true", config, without)
    bos = bos_of("eval.bos", "auto", gemma, without)
    assert bos.first is None
    assert bos.warnings[0].startswith("eval.bos=auto: gemma models need BOS")
    for quiet in (
        ("auto", llama, without),
        ("false", gemma, without),
        ("auto", gemma, Characters()),
    ):
        assert bos_of("eval.bos", *quiet).warnings == ()


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl"])
def test_every_calibration_sequence_is_bos_and_text(name: str, tmp_path: Path) -> None:
    path, text = tmp_path / name, text_of(40)
    path.write_text(text if name == "a.txt" else f'{{"text": "{text}"}}', "utf-8")
    found = calibration_tokens(str(path), 8, 6, 0, Characters(), held_out=2, bos=ON)
    assert found.held_out is not None
    for row in [*found.ids.tolist(), *found.held_out.tolist()]:
        assert len(row) == 6
        assert row[0] == BOS
        assert "".join(map(chr, row[1:])) in text
    assert found.bos is found.record()["bos"] is True
    assert calibration_tokens(str(path), 8, 6, 0, Characters()).record()["bos"] is False


def test_every_evaluation_block_is_bos_and_the_next_piece_of_text(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text(text := text_of(23))
    found = evaluation_tokens(str(path), 6, Characters(), bos=ON)
    assert found.ids.tolist() == [
        [BOS, *map(ord, text[start : start + 5])] for start in (0, 5, 10, 15)
    ]
    assert found.bos
    plain = evaluation_tokens(str(path), 6, Characters())
    assert plain.ids.flatten().tolist() == [BOS, *map(ord, text)]
    assert not plain.bos


def test_a_text_just_long_enough_for_a_block(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    for length, fits in ((4, False), (5, True)):
        path.write_text(text_of(length))
        for read in (
            lambda: evaluation_tokens(str(path), 6, Characters(), bos=ON),
            lambda: calibration_tokens(str(path), 1, 6, 0, Characters(), bos=ON),
        ):
            if fits:
                assert read().ids.shape == (1, 6)
            else:
                with pytest.raises(RequestError, match=r"has 4 tokens.*\.seqlen=6"):
                    read()


def test_tokens_with_bos_are_cached_apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DSNOT_EXP_CACHE", str(tmp_path))
    file = SimpleNamespace(
        repository="a/b", name="c", commit="d" * 40, column=lambda name: [text_of(60)]
    )
    monkeypatch.setattr(corpora, "hub_file", lambda *_: file)
    for _ in range(2):
        for bos, starts in ((Bos(), False), (ON, True)):
            ids = calibration_tokens("wikitext2", 8, 6, 0, Characters(), bos=bos).ids
            assert bool((ids[:, 0] == BOS).all()) == starts
            found = calibration_tokens("wikitext2", 8, 6, 0, Characters(), held_out=2, bos=bos)
            assert torch.equal(found.ids, ids)
            assert found.held_out is not None
            assert bool((found.held_out[:, 0] == BOS).all()) == starts
            assert found.warnings == ()


def test_a_tokenised_file_is_checked(tmp_path: Path) -> None:
    path = str(tmp_path / "a.safetensors")
    auto = Bos("eval.bos", "auto", "gemma2", BOS)
    rows = torch.arange(10, 22).reshape(2, 6)
    rows[0, 0] = BOS
    save_file({"input_ids": rows}, path)
    found = evaluation_tokens(path, 6, None, bos=auto)
    assert not found.bos
    assert "1 of 2 sequences do not start with BOS (token 1)" in found.warnings[0]
    assert "gemma2" in found.warnings[0]
    with pytest.raises(RequestError, match=r"1 of 2 sequences.*calib\.bos=true"):
        calibration_tokens(path, 2, 6, 0, None, bos=ON)
    assert (
        evaluation_tokens(path, 6, None, bos=Bos("eval.bos", "false", "gemma2", 1)).warnings == ()
    )
    rows[1, 0] = BOS
    save_file({"input_ids": rows}, path)
    for bos in (auto, ON, Bos(token=BOS)):
        found = evaluation_tokens(path, 6, None, bos=bos)
        assert found.bos
        assert found.warnings == ()
    with pytest.raises(RequestError, match="2 of 4 sequences"):  # the second half of each row
        evaluation_tokens(path, 3, None, bos=ON)
