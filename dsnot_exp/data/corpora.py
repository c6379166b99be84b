"""Text by name or path: the papers' corpora, tinyworld's own, and the user's files."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dsnot_exp.errors import RequestError, RunError
from dsnot_exp.tinyworld.language import corpus as tinyworld_corpus

SUFFIXES = (".txt", ".jsonl", ".safetensors")
TINYWORLD_WORDS = {"train": 1 << 17, "validation": 1 << 14, "test": 1 << 14}


@dataclass(frozen=True)
class Corpus:
    """A corpus as text. `documents` are sampled one by one (c4) if `by_document`; else the text
    is `join`ed and tokenised once (wikitext2, ptb)."""

    documents: Sequence[str]
    join: str
    by_document: bool = False
    evaluated_blocks: int | None = None  # c4's protocol evaluates the first 256 blocks only


def _tinyworld(split: str) -> Callable[[bool], Corpus]:
    def load(calibration: bool) -> Corpus:
        part = "train" if calibration else split
        return Corpus([tinyworld_corpus(part, TINYWORLD_WORDS[part])], "")

    return load


def _wikitext2(calibration: bool) -> Corpus:
    split = "train" if calibration else "test"
    text = _hub("Salesforce/wikitext", "wikitext-2-raw-v1", split=split)["text"]
    return Corpus(text, " " if calibration else "\n\n")


def _ptb(calibration: bool) -> Corpus:
    split = "train" if calibration else "test"
    # The original is a script, which `datasets` no longer runs; this is its parquet conversion.
    ptb = _hub(
        "ptb-text-only/ptb_text_only",
        "penn_treebank",
        split=split,
        revision="refs/convert/parquet",
    )
    return Corpus(ptb["sentence"], " ")


def _c4(calibration: bool) -> Corpus:
    if calibration:
        shard = {"train": "en/c4-train.00000-of-01024.json.gz"}
        return Corpus(_hub("allenai/c4", data_files=shard, split="train")["text"], " ", True)
    shard = {"validation": "en/c4-validation.00000-of-00008.json.gz"}
    text = _hub("allenai/c4", data_files=shard, split="validation")[:1100]["text"]
    return Corpus(text, " ", evaluated_blocks=256)


CORPORA: dict[str, Callable[[bool], Corpus]] = {
    "wikitext2": _wikitext2,
    "c4": _c4,
    "ptb": _ptb,
    "tinyworld": _tinyworld("test"),
    "tinyworld-validation": _tinyworld("validation"),
}


def refuse_unknown(key: str, name: str) -> None:
    """A data set must be a known corpus or a file that exists. Reads nothing."""
    path = Path(name).expanduser()
    if name in CORPORA:
        return
    if path.suffix not in SUFFIXES:
        raise RequestError(
            f"{key}={name}: choose from {', '.join(CORPORA)}, or give the path of a "
            f"{', '.join(SUFFIXES)} file"
        )
    if not path.is_file():
        raise RequestError(f"{key}={name}: no such file")
    if path.stat().st_size == 0:
        raise RequestError(f"{key}={name}: the file is empty")


def load_corpus(key: str, name: str, calibration: bool) -> Corpus:
    """The corpus `name`, its calibration or its evaluation part; a file is both."""
    if name in CORPORA:
        return CORPORA[name](calibration)
    path = Path(name).expanduser()
    try:
        text = path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise RequestError(f"{key}={name}: not UTF-8 text (byte {error.start})") from error
    if path.suffix == ".txt":
        return Corpus([text], "")
    lines = [line for line in text.splitlines() if line.strip()]
    try:
        documents = [json.loads(line)["text"] for line in lines]
    except (ValueError, KeyError, TypeError) as error:
        raise RequestError(
            f'{key}={name}: every line must be JSON with a "text" field ({error!r})'
        ) from error
    return Corpus(documents, "\n\n", by_document=True)


def _hub(path: str, *args: str, **kwargs: object):  # type: ignore[no-untyped-def]
    from datasets import load_dataset  # slow to import, and not needed offline

    try:
        return load_dataset(path, *args, **kwargs)
    except Exception as error:  # network, proxies, hubs: each raises its own
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
        raise RunError(
            f"data set {path} cannot be had ({reason}); connect once so that it is cached, or give "
            "the path of a .txt, .jsonl or .safetensors file"
        ) from error
