"""The papers' protocol, compared with the released sampler, and what a corpus is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest

from dsnot_exp.data import corpora
from dsnot_exp.data.corpora import CORPORA, Corpus
from dsnot_exp.data.load import calibration_tokens, evaluation_tokens
from dsnot_exp.data.sampling import sample
from dsnot_exp.utils.errors import RequestError
from tests.support.texts import (
    Rows,
    characters,
    released_by_document,
    released_from_stream,
    text_of,
)


@pytest.mark.usefixtures("_global_generator")
@pytest.mark.parametrize("seed", range(20))
def test_documents_around_the_length_of_a_sequence_are_drawn_as_released(seed: int) -> None:
    """A document of one sequence is redrawn; of one token more it has one offset, 0."""
    lengths = [7, 8, 9, 10, 11, 12, 3, 16, 17, 40]
    texts = [text_of(length, 100 * place) for place, length in enumerate(lengths)]
    found = sample(Corpus(texts, "", by_document=True), 12, 8, seed, characters, "calib.dataset=c4")
    assert found.ids.tolist() == released_by_document(texts, 12, 8, seed)


@pytest.mark.parametrize(
    ("length", "starts"),
    [(9, {0}), (10, {0, 1}), (11, {0, 1, 2})],
)
def test_no_document_is_read_to_its_last_token(length: int, starts: set[int]) -> None:
    corpus = Corpus([text_of(length), text_of(8, 500)], "", by_document=True)
    found = sample(corpus, 60, 8, 1, characters, "calib.dataset=c4")
    assert {row[0] - 0x4E00 for row in found.ids.tolist()} == starts


@pytest.mark.usefixtures("_global_generator")
@pytest.mark.parametrize("length", [9, 10, 12, 40, 72])
@pytest.mark.parametrize("seed", range(4))
def test_streams_of_any_length_are_drawn_as_released(seed: int, length: int) -> None:
    text = text_of(length)
    found = sample(Corpus([text[:5], text[5:]], ""), 20, 8, seed, characters, "calib.dataset=ptb")
    assert found.ids.tolist() == released_from_stream(text, 20, 8, seed)


@dataclass
class File:
    """A file of a corpus on the hub, and how often it was read."""

    columns: dict[str, list[str]]
    repository: str = "acme/corpus"
    name: str = "train.parquet"
    commit: str = "a" * 40
    reads: list[str] = field(default_factory=list)

    def column(self, name: str) -> list[str]:
        self.reads.append(name)
        return self.columns[name]


Serve = Callable[..., File]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Serve:
    """Let every corpus of the hub consist of these texts, with a cache of tokens of its own."""
    monkeypatch.setenv("DSNOT_EXP_CACHE", str(tmp_path / "cache"))

    def served(texts: list[str], column: str = "text", **changes: str) -> File:
        file = File({column: texts}, **changes)
        monkeypatch.setattr(corpora, "hub_file", lambda *_: file)
        return file

    return served


class Characters:
    """As `characters`, in the shape of a tokenizer: `shift` stands for another vocabulary, and
    `special` for what else it is made with, which JSON need not know."""

    def __init__(self, shift: int = 0, special: object = Path("a")) -> None:
        self.shift, self.init_kwargs = shift, {"special": special}

    def get_vocab(self) -> dict[str, int]:
        return {"a": ord("a") + self.shift}

    def __call__(self, text: str, verbose: bool = True) -> dict[str, list[int]]:
        return {"input_ids": [ord(c) + self.shift for c in text]}


class Others(Characters):
    """Another class of tokenizer with the same vocabulary."""


class Fast(Characters):
    """A tokenizer that a library in Rust backs: all that it does is in one text."""

    def __init__(self, rules: str) -> None:
        super().__init__()
        self.backend_tokenizer = SimpleNamespace(to_str=lambda: rules)


@pytest.mark.parametrize(
    ("dataset", "column", "join"),
    [("wikitext2", "text", "\n\n"), ("ptb", "sentence", " "), ("c4", "text", " ")],
)
def test_texts_are_joined_for_the_evaluation_as_released(
    dataset: str, column: str, join: str, serve: Serve
) -> None:
    texts = ["ab", "", "cde", "fghij"]
    serve(texts, column)
    whole = join.join(texts)
    found = evaluation_tokens(dataset, 1, Characters()).ids
    assert found.flatten().tolist() == [ord(c) for c in whole]


@pytest.mark.usefixtures("_global_generator")
@pytest.mark.parametrize(("dataset", "column"), [("wikitext2", "text"), ("ptb", "sentence")])
def test_texts_are_joined_with_a_space_for_the_calibration(
    dataset: str, column: str, serve: Serve
) -> None:
    texts = [text_of(3, 10 * number) for number in range(9)]
    serve(texts, column)
    found = calibration_tokens(dataset, 10, 7, 2, Characters()).ids
    assert found.tolist() == released_from_stream(" ".join(texts), 10, 7, 2)


@pytest.mark.usefixtures("_global_generator")
def test_c4_is_calibrated_on_document_by_document(serve: Serve) -> None:
    texts = [text_of(length, 100 * length) for length in (5, 7, 8, 9, 20, 33)]
    serve(texts)
    found = calibration_tokens("c4", 10, 7, 2, Characters()).ids
    assert found.tolist() == released_by_document(texts, 10, 7, 2)


@pytest.mark.parametrize(
    ("seqlen", "blocks"),
    [(733, 3), (11, 199)],
    ids=["the last is needed", "one more would be seen"],
)
def test_c4_is_evaluated_on_its_first_1100_documents(
    seqlen: int, blocks: int, serve: Serve
) -> None:
    texts = [chr(0x4E00 + number) for number in range(1200)]
    serve(texts)
    found = evaluation_tokens("c4", seqlen, Characters()).ids
    stream = [ord(c) for c in " ".join(texts[:1100])]
    assert len(stream) == 2199
    assert found.shape == (blocks, seqlen)
    assert found.flatten().tolist() == stream[: blocks * seqlen]


def test_c4_is_evaluated_on_256_blocks_at_most(serve: Serve) -> None:
    texts = [text_of(50, number) for number in range(40)]
    serve(texts)
    found = evaluation_tokens("c4", 3, Characters()).ids
    stream = [ord(c) for c in " ".join(texts)]
    assert found.flatten().tolist() == stream[: 3 * 256]


@pytest.mark.parametrize(("dataset", "column"), [("wikitext2", "text"), ("ptb", "sentence")])
def test_the_other_corpora_are_evaluated_in_full(dataset: str, column: str, serve: Serve) -> None:
    serve(["ab"] * 1500, column)
    tokens = len({"wikitext2": "\n\n", "ptb": " "}[dataset].join(["ab"] * 1500))
    assert len(evaluation_tokens(dataset, 7, Characters()).ids) == tokens // 7


def test_a_corpus_names_the_file_of_each_purpose(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[object, ...]] = []
    monkeypatch.setattr(corpora, "hub_file", lambda *told: asked.append(told))
    for name in ("wikitext2", "c4", "ptb"):
        for calibration in (True, False):
            CORPORA[name].file(calibration)
    wikitext, ptb = "wikitext-2-raw-v1", "penn_treebank"
    converted = ("ptb-text-only/ptb_text_only", "refs/convert/parquet")
    assert [(repository, revision) for repository, _, revision in asked] == [
        *2 * [("Salesforce/wikitext", None)], *2 * [("allenai/c4", None)], *2 * [converted],
    ]  # fmt: skip
    assert [names for _, names, _ in asked] == [
        (f"{wikitext}/train-00000-of-00001.parquet",),
        (f"{wikitext}/test-00000-of-00001.parquet",),
        ("en/c4-train.00000-of-01024.json.gz",),
        ("en/c4-validation.00000-of-00008.json.gz",),
        # the hub has named its conversion in two ways
        (f"{ptb}/train/0000.parquet", f"{ptb}/ptb_text_only-train.parquet"),
        (f"{ptb}/test/0000.parquet", f"{ptb}/ptb_text_only-test.parquet"),
    ]


def drawn(
    samples: int = 4, seqlen: int = 6, seed: int = 0, tokenizer: Characters | None = None
) -> Rows:
    rows = calibration_tokens("wikitext2", samples, seqlen, seed, tokenizer or Characters()).ids
    return rows.tolist()


def test_tokens_are_drawn_once_for_the_same_request(serve: Serve) -> None:
    file = serve([text_of(60)])
    first = drawn()
    assert drawn() == first
    assert file.reads == ["text"]


@pytest.mark.parametrize(
    "request_",
    [
        {"seed": 1},
        {"samples": 5},
        {"seqlen": 7},
        {"tokenizer": Characters(shift=1)},
        {"tokenizer": Characters(special="b")},
        {"tokenizer": Others()},
    ],
    ids=["seed", "samples", "seqlen", "vocabulary", "options of the tokenizer", "its class"],
)
def test_another_request_is_drawn_anew(
    request_: dict, serve: Serve, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = serve([text_of(60)])
    first, second = drawn(), drawn(**request_)
    assert (drawn(), drawn(**request_)) == (first, second)
    assert file.reads == ["text", "text"]
    monkeypatch.setenv("DSNOT_EXP_CACHE", str(tmp_path / "empty"))
    assert drawn(**request_) == second


def test_a_fast_tokenizer_of_other_rules_draws_anew(serve: Serve) -> None:
    file = serve([text_of(60)])
    for rules, reads in (("merge a b", 1), ("merge b c", 2), ("merge a b", 2)):
        drawn(tokenizer=Fast(rules))
        assert len(file.reads) == reads


@pytest.mark.parametrize(
    "source",
    [{"commit": "b" * 40}, {"name": "other.parquet"}, {"repository": "acme/fork"}],
    ids=["commit", "file", "repository"],
)
def test_another_source_is_drawn_anew(source: dict[str, str], serve: Serve) -> None:
    serve([text_of(60)])
    first = drawn()
    other = serve([text_of(60, 1000)], **source)
    assert drawn() != first
    assert other.reads == ["text"]


def test_evaluation_tokens_of_another_length_are_cut_anew(serve: Serve) -> None:
    file = serve([text_of(60)])
    shapes = [tuple(evaluation_tokens("wikitext2", n, Characters()).ids.shape) for n in (6, 7, 6)]
    assert shapes == [(10, 6), (8, 7), (10, 6)]
    assert len(file.reads) == 2


@pytest.mark.parametrize("group", ["calib", "finetune"])
def test_a_stream_shorter_than_a_sequence_names_the_option_to_lower(group: str) -> None:
    corpus = Corpus([text_of(7)], "")
    with pytest.raises(RequestError, match=rf"^{group}\.dataset=a.*{group}\.seqlen=8"):
        sample(corpus, 1, 8, 0, characters, f"{group}.dataset=a")
    assert sample(corpus, 2, 7, 0, characters, "calib.dataset=a").ids.shape == (2, 7)
