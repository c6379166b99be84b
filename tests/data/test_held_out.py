"""Sequences held out from the calibration: they change nothing in it, and share no text with it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from dsnot_exp.data import sampling
from dsnot_exp.data.corpora import Corpus
from dsnot_exp.data.load import calibration_tokens
from dsnot_exp.data.sampling import sample
from dsnot_exp.data.tokens import Tokens

START = 0x4E00


def characters(text: str, verbose: bool = True) -> dict[str, list[int]]:
    """One token per character."""
    return {"input_ids": [ord(c) for c in text]}


def text_of(length: int, start: int = 0) -> str:
    """No two tokens of it are the same."""
    return "".join(chr(START + start + place) for place in range(length))


def corpus_of(by_document: bool, documents: int = 12, length: int = 40) -> Corpus:
    texts = [text_of(length, length * number) for number in range(documents)]
    return Corpus(texts, "", by_document)


@pytest.mark.parametrize("by_document", [True, False], ids=["documents", "stream"])
@pytest.mark.parametrize("seed", range(5))
def test_held_out_sequences_are_other_text(seed: int, by_document: bool) -> None:
    corpus = corpus_of(by_document)
    alone = sample(corpus, 8, 8, seed, characters, "calib.dataset=a")
    found = sample(corpus, 8, 8, seed, characters, "calib.dataset=a", held_out=5)
    assert alone.held_out is None
    assert torch.equal(found.ids, alone.ids)
    assert found.held_out is not None
    assert found.held_out.shape == (5, 8)
    assert not set(found.held_out.flatten().tolist()) & set(found.ids.flatten().tolist())
    assert not found.overlap
    whole = "".join(corpus.documents)
    for row in found.held_out.tolist():  # each a window of the text
        assert "".join(map(chr, row)) in whole


@pytest.mark.parametrize("starts", [[], [0], [3], [9], [0, 9], [2, 2, 7], [0, 4, 8]])
@pytest.mark.parametrize("width", [1, 2, 4])
def test_free_windows_share_no_token_with_a_taken_one(starts: list[int], width: int) -> None:
    taken = {start + place for start in starts for place in range(width)}
    expected = [s for s in range(10) if not taken & set(range(s, s + width))]
    assert sampling._free(10, width, starts).tolist() == expected


def test_the_only_free_place_is_found() -> None:
    """16 documents hold one window each and all but one are taken; so is a stream but for 8."""
    texts = [text_of(9, 9 * number) for number in range(16)]
    for seed in range(3):
        drawn = sample(Corpus(texts, "", True), 40, 8, seed, characters, "c.d=a", held_out=2)
        taken = {row[0] for row in drawn.ids.tolist()}
        free = {ord(text[0]) for text in texts} - taken
        assert drawn.held_out is not None
        held = {row[0] for row in drawn.held_out.tolist()}
        assert drawn.overlap == (not free)
        assert held <= (free or taken)


@pytest.mark.parametrize("by_document", [True, False], ids=["documents", "stream"])
def test_without_other_text_they_overlap_and_say_so(by_document: bool, tmp_path: Path) -> None:
    path = tmp_path / ("a.jsonl" if by_document else "a.txt")
    text = text_of(20)
    path.write_text(json.dumps({"text": text}) if by_document else text, "utf-8")
    found = calibration_tokens(str(path), 10, 12, 0, characters, held_out=2)
    assert found.held_out is not None
    assert found.held_out.shape == (2, 12)
    assert any(w.startswith("calib.held_out=2: ") and "overlap" in w for w in found.warnings)


def test_rows_of_a_file_after_the_samples_are_held_out(tmp_path: Path) -> None:
    path = str(tmp_path / "a.safetensors")
    rows = torch.arange(40).reshape(5, 8)
    save_file({"input_ids": rows}, path)
    found = calibration_tokens(path, 3, 8, 0, None, held_out=2)
    assert torch.equal(found.ids, rows[:3])
    assert found.held_out is not None
    assert torch.equal(found.held_out, rows[3:])
    assert found.warnings == ()
    found = calibration_tokens(path, 4, 8, 0, None, held_out=2)
    assert torch.equal(found.ids, rows[:4])
    assert found.held_out is not None
    assert torch.equal(found.held_out, rows[3:])
    (warning,) = found.warnings
    assert warning.startswith("calib.held_out=2: ")
    assert "5 sequences" in warning


def test_the_record_tells_which_are_held_out() -> None:
    ids = torch.arange(6).reshape(2, 3)
    alone, both = Tokens(ids, "a").record(), Tokens(ids, "a", held_out=ids[:1]).record()
    assert set(both) - set(alone) == {"held_out", "held_out_sha256"}
    assert both["held_out"] == 1
    assert both["held_out_sha256"] == Tokens(ids[:1], "a").record()["tokens_sha256"]
