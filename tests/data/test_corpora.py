"""What a user may name as a data set, and what is read from a file of theirs."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from dsnot_exp.data.corpora import CORPORA, TinyworldCorpus, refuse_unknown
from dsnot_exp.data.load import evaluation_tokens
from dsnot_exp.data.text_files import read_file
from dsnot_exp.data.tokens import Tokens
from dsnot_exp.utils.errors import RequestError


def characters(text: str, verbose: bool = True) -> dict[str, list[int]]:
    """One token per character."""
    return {"input_ids": [ord(c) for c in text]}


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.safetensors"])
def test_a_file_that_holds_something_is_a_data_set(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    with pytest.raises(RequestError, match=f"calib.dataset={path}"):
        refuse_unknown("calib.dataset", str(path))
    path.write_text("")
    with pytest.raises(RequestError, match=f"calib.dataset={path}"):
        refuse_unknown("calib.dataset", str(path))
    path.write_text("a")
    refuse_unknown("calib.dataset", str(path))


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a")
    with pytest.raises(RequestError, match=r"calib\.dataset="):
        refuse_unknown("calib.dataset", str(tmp_path / "a.csv"))
    (tmp_path / "folder.txt").mkdir()
    with pytest.raises(RequestError, match=r"calib\.dataset="):
        refuse_unknown("calib.dataset", str(tmp_path / "folder.txt"))


def test_every_corpus_is_known_by_its_name() -> None:
    for name in ("wikitext2", "c4", "ptb", "tinyworld", "tinyworld-validation"):
        refuse_unknown("calib.dataset", name)
    with pytest.raises(RequestError, match=r"calib\.dataset=wikitext"):
        refuse_unknown("calib.dataset", "wikitext")


def test_a_path_may_begin_at_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a.txt").write_text("abc")
    refuse_unknown("calib.dataset", "~/a.txt")
    assert read_file("calib.dataset=~/a.txt", "~/a.txt").documents == ["abc"]


def test_a_text_is_one_stream_and_lines_are_documents(tmp_path: Path) -> None:
    text, lines = tmp_path / "a.txt", tmp_path / "a.jsonl"
    text.write_text("one\n\ntwo")
    lines.write_text('{"text": "one"}\n\n  \n{"text": "two", "url": "x"}\n')
    found = read_file("k=a", str(text))
    assert (found.documents, found.by_document) == (["one\n\ntwo"], False)
    found = read_file("k=a", str(lines))
    assert (found.documents, found.by_document) == (["one", "two"], True)
    for path in (text, lines):  # one text of eight tokens, however it is stored
        ids = evaluation_tokens(str(path), 8, characters).ids
        assert ids.tolist() == [[ord(c) for c in "one\n\ntwo"]]


@pytest.mark.parametrize("line", ["{}", "[]", '"a"', "3", "{", '{"text"'])
def test_a_line_without_a_text_is_refused(line: str, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(f'{{"text": "fine"}}\n{line}\n')
    with pytest.raises(RequestError, match=r"^k=a: line 2"):
        read_file("k=a", str(path))


def test_an_evaluation_text_shorter_than_one_block_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("abcdefg")
    with pytest.raises(RequestError, match=r"eval\.seqlen=8"):
        evaluation_tokens(str(tmp_path / "a.txt"), 8, characters)
    assert evaluation_tokens(str(tmp_path / "a.txt"), 7, characters).ids.shape == (1, 7)


def test_tinyworld_has_a_fixed_amount_of_text() -> None:
    """Its published figures were measured on so much."""
    words = {}
    for name in ("tinyworld", "tinyworld-validation"):
        corpus = CORPORA[name]
        assert isinstance(corpus, TinyworldCorpus)
        (text,) = corpus.read(calibration=False).documents
        words[name] = len(text.split())
    (text,) = CORPORA["tinyworld"].read(True).documents  # type: ignore[call-arg, arg-type]
    words["train"] = len(text.split())
    near = {name: round(count / 1024) for name, count in words.items()}
    assert near == {"tinyworld": 16, "tinyworld-validation": 16, "train": 128}


def test_the_record_of_tokens_says_which_they_are() -> None:
    ids = torch.arange(6).reshape(2, 3)
    digest = hashlib.sha256(ids.numpy().tobytes()).hexdigest()
    assert Tokens(ids, "c4", "abc").record() == {
        "dataset": "c4",
        "revision": "abc",
        "sequences": 2,
        "seqlen": 3,
        "bos": False,
        "distinct": 2,
        "tokens_sha256": digest,
    }
    assert Tokens(ids + 1, "c4").record()["tokens_sha256"] != digest


def test_tinyworlds_text_is_read_without_a_file() -> None:
    (text,) = CORPORA["tinyworld-validation"].read(False).documents  # type: ignore[call-arg, arg-type]
    found = evaluation_tokens("tinyworld-validation", 1000, characters)
    assert found.ids.flatten().tolist() == [ord(c) for c in text[: found.ids.numel()]]
    assert found.ids.shape == (len(text) // 1000, 1000)
    assert found.record()["revision"] is None


def test_tokens_of_any_integer_type_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for dtype in (torch.int32, torch.uint8):
        save_file({"input_ids": torch.arange(8, dtype=dtype)}, tmp_path / "a.safetensors")
        ids = evaluation_tokens("~/a.safetensors", 4, None).ids
        assert ids.dtype == torch.int64
        assert ids.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_a_tokenised_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    for content in (None, b"12345678901234567890"):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(RequestError, match=f"eval.perplexity={path}"):
            evaluation_tokens(str(path), 4, None)
