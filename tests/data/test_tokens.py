"""The official sampling, spelt out again, and files of every kind."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from dsnot_exp.data import windows as module
from dsnot_exp.data.corpora import CORPORA
from dsnot_exp.data.load import calibration_tokens, evaluation_tokens
from dsnot_exp.data.tokens import refuse_foreign_tokens
from dsnot_exp.utils.errors import RequestError


def tokenizer(text: str, verbose: bool = True) -> dict[str, list[int]]:
    """One token per character."""
    return {"input_ids": [ord(c) for c in text]}


def documents(count: int = 40) -> list[str]:
    rng = random.Random(7)
    return ["".join(rng.choices("abcdefgh ", k=rng.randint(5, 60))) for _ in range(count)]


def test_documents_are_drawn_as_the_released_code_draws_them(tmp_path: Path) -> None:
    texts = documents()
    path = tmp_path / "c4.jsonl"
    path.write_text("\n".join(json.dumps({"text": t}) for t in texts) + "\n")
    found = calibration_tokens(str(path), 12, 20, 3, tokenizer).ids
    random.seed(3)
    for row in found:
        while True:
            text = texts[random.randint(0, len(texts) - 1)]
            if len(text) > 20:
                break
        start = random.randint(0, len(text) - 20 - 1)
        assert row.tolist() == [ord(c) for c in text[start : start + 20]]


def test_a_stream_is_drawn_as_the_released_code_draws_it(tmp_path: Path) -> None:
    text = " ".join(documents())
    path = tmp_path / "wiki.txt"
    path.write_text(text)
    found = calibration_tokens(str(path), 9, 32, 5, tokenizer).ids
    random.seed(5)
    for row in found:
        start = random.randint(0, len(text) - 32 - 1)
        assert row.tolist() == [ord(c) for c in text[start : start + 32]]


def test_the_first_sequences_of_a_text_know_how_many_there_are(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("abcdefghijkl" * 2)
    whole = evaluation_tokens(str(tmp_path / "a.txt"), 4, tokenizer)
    part = whole.first(2)
    assert torch.equal(part.ids, whole.ids[:2])
    record = part.record()
    assert (record["sequences"], record["of"]) == (2, 6)
    assert record["tokens_sha256"] != whole.record()["tokens_sha256"]
    (warning,) = part.warnings
    assert "eval.blocks=2" in warning
    assert "the first 2 of the 6 sequences" in warning
    for count in (None, 6, 7):
        assert whole.first(count) is whole
    assert "of" not in whole.record()


def test_sampling_does_not_touch_the_global_generator(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("abc " * 50)
    random.seed(1)
    before = random.getstate()
    calibration_tokens(str(tmp_path / "a.txt"), 4, 8, 0, tokenizer)
    assert random.getstate() == before


def test_a_text_of_exactly_one_sequence(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("abcdefgh")
    found = calibration_tokens(str(tmp_path / "a.txt"), 2, 8, 0, tokenizer).ids
    assert found.tolist() == [[ord(c) for c in "abcdefgh"]] * 2


def test_too_short_documents_do_not_hang(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_DRAWS", 50)
    (tmp_path / "a.jsonl").write_text('{"text": "short"}\n')
    with pytest.raises(RequestError, match=r"50 documents drawn.*calib\.seqlen=8"):
        calibration_tokens(str(tmp_path / "a.jsonl"), 2, 8, 0, tokenizer)


def test_evaluation_text_is_cut_into_blocks_and_the_tail_dropped(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("abcdefghij")
    found = evaluation_tokens(str(tmp_path / "a.txt"), 4, tokenizer).ids
    assert found.tolist() == [[ord(c) for c in "abcd"], [ord(c) for c in "efgh"]]


def test_tokenised_files(tmp_path: Path) -> None:
    path = str(tmp_path / "a.safetensors")
    ids = torch.arange(30).reshape(3, 10)
    save_file({"input_ids": ids}, path)
    assert torch.equal(calibration_tokens(path, 3, 10, 0, None).ids, ids)
    assert torch.equal(calibration_tokens(path, 2, 10, 9, None).ids, ids[:2])
    halves = evaluation_tokens(path, 4, None).ids  # each row on its own, tail dropped
    assert halves.tolist() == [row[i : i + 4].tolist() for row in ids for i in (0, 4)]
    save_file({"input_ids": torch.arange(9)}, path)
    assert evaluation_tokens(path, 4, None).ids.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    with pytest.raises(RequestError, match=r"holds 2 sequences.*calib\.samples=3"):
        calibration_tokens(path, 3, 4, 0, None)
    with pytest.raises(RequestError, match="shorter than one sequence of 10"):
        calibration_tokens(path, 1, 10, 0, None)
    save_file({"tokens": torch.arange(9)}, path)
    with pytest.raises(RequestError, match="no tensor input_ids"):
        calibration_tokens(path, 1, 4, 0, None)


def test_foreign_tokens_are_refused() -> None:
    refuse_foreign_tokens("k", torch.tensor([0, 9]), 10)
    for bad in ([0, 10], [-1, 3]):
        with pytest.raises(RequestError, match="vocabulary has 10"):
            refuse_foreign_tokens("k", torch.tensor(bad), 10)


def test_tinyworld_calibrates_and_evaluates_on_different_text() -> None:
    train, test = CORPORA["tinyworld"].read(True), CORPORA["tinyworld"].read(False)
    validation = CORPORA["tinyworld-validation"].read(False)
    starts = {c.documents[0][:200] for c in (train, test, validation)}
    assert len(starts) == 3
