"""Text corpora by name or path: the papers' corpora, tinyworld's text, and the user's files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dsnot_exp.data.hub import HubFile, hub_file
from dsnot_exp.tinyworld.language import corpus as tinyworld_corpus
from dsnot_exp.utils.errors import RequestError

TOKENISED = ".safetensors"
TEXT = (".txt", ".jsonl", ".json")  # or with .gz
SUFFIXES = (*TEXT, *(f"{suffix}.gz" for suffix in TEXT), ".parquet", TOKENISED)
FIELD = "text"  # of a JSON object, or a parquet column


@dataclass(frozen=True)
class Corpus:
    """A corpus as text.

    by_document: documents are sampled one at a time (c4); otherwise they are joined with `join`
        and tokenised once (wikitext2, ptb)
    evaluated_blocks: evaluate only the first N blocks
    """

    documents: Sequence[str]
    join: str
    by_document: bool = False
    evaluated_blocks: int | None = None


@dataclass(frozen=True)
class HubCorpus:
    """A corpus on the hub with the papers' protocol for it (released code, lib/data.py).

    calibration, evaluation: the file's path in the repository, one entry per name it has had
    evaluated_documents, evaluated_blocks: evaluate only the first N documents or blocks
    """

    repository: str
    calibration: tuple[str, ...]
    evaluation: tuple[str, ...]
    column: str = "text"
    revision: str | None = None
    evaluation_join: str = " "
    by_document: bool = False
    evaluated_documents: int | None = None
    evaluated_blocks: int | None = None

    def file(self, calibration: bool) -> HubFile:
        names = self.calibration if calibration else self.evaluation
        return hub_file(self.repository, names, self.revision)

    def read(self, file: HubFile, calibration: bool) -> Corpus:
        texts = file.column(self.column)
        if calibration:
            return Corpus(texts, " ", self.by_document)
        texts = texts[: self.evaluated_documents]
        return Corpus(texts, self.evaluation_join, evaluated_blocks=self.evaluated_blocks)


@dataclass(frozen=True)
class TinyworldCorpus:
    """Tinyworld's text: calibrate on the training split, evaluate on `split`."""

    split: str

    def read(self, calibration: bool) -> Corpus:
        split, words = ("train", 1 << 17) if calibration else (self.split, 1 << 14)
        return Corpus([tinyworld_corpus(split, words)], "")


CORPORA: dict[str, HubCorpus | TinyworldCorpus] = {
    "wikitext2": HubCorpus(
        "Salesforce/wikitext",
        ("wikitext-2-raw-v1/train-00000-of-00001.parquet",),
        ("wikitext-2-raw-v1/test-00000-of-00001.parquet",),
        evaluation_join="\n\n",
    ),
    "c4": HubCorpus(
        "allenai/c4",
        ("en/c4-train.00000-of-01024.json.gz",),
        ("en/c4-validation.00000-of-00008.json.gz",),
        by_document=True,
        evaluated_documents=1100,
        evaluated_blocks=256,
    ),
    # The original is a loading script, which `datasets` no longer runs. Use the hub's conversion.
    "ptb": HubCorpus(
        "ptb-text-only/ptb_text_only",
        ("penn_treebank/train/0000.parquet", "penn_treebank/ptb_text_only-train.parquet"),
        ("penn_treebank/test/0000.parquet", "penn_treebank/ptb_text_only-test.parquet"),
        column="sentence",
        revision="refs/convert/parquet",
    ),
    "tinyworld": TinyworldCorpus("test"),
    "tinyworld-validation": TinyworldCorpus("validation"),
}


def suffix_of(name: str) -> str:
    """What kind of file it is by its name, in lower case: `.txt` of `A.TXT.gz`."""
    return Path(name.lower().removesuffix(".gz")).suffix


def is_tokenised(name: str) -> bool:
    """Whether a data set is a file of token ids."""
    return name.lower().endswith(TOKENISED)


def refuse_unknown(key: str, name: str) -> None:
    """Raise if `name` is neither a known corpus nor a non-empty file. Does not read the file."""
    path = Path(os.path.expanduser(name))
    if name in CORPORA:
        return
    if not name.lower().endswith(SUFFIXES):
        raise RequestError(
            f"{key}={name}: choose from {', '.join(CORPORA)}, or give the path of a "
            f"{', '.join(SUFFIXES)} file"
        )
    if path.is_dir():
        raise RequestError(f"{key}={name}: a folder; give the path of a file")
    if not path.is_file():
        raise RequestError(f"{key}={name}: no such file")
    if path.stat().st_size == 0:
        raise RequestError(f"{key}={name}: the file is empty")
