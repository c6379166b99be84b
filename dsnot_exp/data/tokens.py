"""Calibration and evaluation tokens, sampled as in the released code.

Released code: github zyxxmu/DSnoT, lib/data.py. The same seed selects the same tokens.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from dsnot_exp.data.corpora import CORPORA, Corpus, TinyworldCorpus, read_file
from dsnot_exp.data.token_cache import cached
from dsnot_exp.utils.errors import RequestError

MAX_DRAWS = 20_000  # give up after this many short documents (3 % of c4 reach 2048 tokens)


@dataclass(frozen=True)
class Tokens:
    """Token ids, (sequences, tokens) int64, and their source."""

    ids: Tensor
    dataset: str
    revision: str | None = None  # commit on the hub

    def record(self) -> dict[str, Any]:
        """The entry for result.json."""
        return {
            "dataset": self.dataset,
            "revision": self.revision,
            "sequences": self.ids.shape[0],
            "seqlen": self.ids.shape[1],
            "tokens_sha256": hashlib.sha256(self.ids.numpy().tobytes()).hexdigest(),
        }


def calibration_tokens(
    dataset: str, samples: int, seqlen: int, seed: int, tokenizer: Any, group: str = "calib"
) -> Tokens:
    """`samples` sequences of `seqlen` tokens. `group`: the option group, for error messages."""
    key = f"{group}.dataset"
    if dataset.endswith(".safetensors"):
        rows = _sequences(key, dataset, seqlen)
        if len(rows) < samples:
            raise RequestError(
                f"{key}={dataset}: holds {len(rows)} sequences of {seqlen} tokens, fewer than "
                f"{group}.samples={samples}"
            )
        return Tokens(rows[:samples], dataset)

    def draw(corpus: Corpus) -> Tensor:
        return sample(corpus, samples, seqlen, seed, tokenizer, f"{key}={dataset}")

    drawn = {"samples": samples, "seqlen": seqlen, "seed": seed}
    return _from_corpus(key, dataset, True, drawn, tokenizer, draw)


def evaluation_tokens(dataset: str, seqlen: int, tokenizer: Any) -> Tokens:
    """Tokenise the evaluation text once and cut it into blocks of `seqlen`. Drop the tail."""
    key = "eval.perplexity"
    if dataset.endswith(".safetensors"):
        return Tokens(_sequences(key, dataset, seqlen), dataset)

    def cut(corpus: Corpus) -> Tensor:
        stream = tokenize(tokenizer, corpus.join.join(corpus.documents))
        count = len(stream) // seqlen
        if count == 0:
            raise RequestError(
                f"{key}={dataset}: has {len(stream)} tokens, shorter than one block of "
                f"eval.seqlen={seqlen}"
            )
        return stream[: count * seqlen].reshape(count, seqlen)[: corpus.evaluated_blocks]

    return _from_corpus(key, dataset, False, {"seqlen": seqlen}, tokenizer, cut)


def _from_corpus(
    key: str,
    dataset: str,
    calibration: bool,
    drawn: dict[str, int],
    tokenizer: Any,
    draw: Callable[[Corpus], Tensor],
) -> Tokens:
    """Tokens of a corpus. Tokens of hub corpora are cached by commit and tokenizer."""
    known = CORPORA.get(dataset)
    if known is None:
        return Tokens(draw(read_file(key, dataset)), dataset)
    if isinstance(known, TinyworldCorpus):
        return Tokens(draw(known.read(calibration)), dataset)
    file = known.file(calibration)
    source = {"repository": file.repository, "file": file.name, "commit": file.commit}
    ids = cached({**source, **drawn}, tokenizer, lambda: draw(known.read(file, calibration)))
    return Tokens(ids, dataset, file.commit)


def sample(
    corpus: Corpus, samples: int, seqlen: int, seed: int, tokenizer: Any, what: str
) -> Tensor:
    """Calibration tokens, (samples, seqlen), sampled as in the released code."""
    rng = random.Random(seed)
    if corpus.by_document:
        return _by_document(corpus, samples, seqlen, rng, tokenizer, what)
    stream = tokenize(tokenizer, corpus.join.join(corpus.documents))
    if len(stream) < seqlen:
        raise RequestError(
            f"{what}: has {len(stream)} tokens, shorter than one sequence of "
            f"{_group(what)}.seqlen={seqlen}"
        )
    starts = [rng.randint(0, max(0, len(stream) - seqlen - 1)) for _ in range(samples)]
    return torch.stack([stream[start : start + seqlen] for start in starts])


def _group(what: str) -> str:
    """`finetune.dataset=c4` -> `finetune`"""
    return what.partition(".")[0]


def tokenize(tokenizer: Any, text: str) -> Tensor:
    """Token ids, (tokens,), with the special tokens that the tokenizer adds by default."""
    return torch.tensor(tokenizer(text, verbose=False)["input_ids"], dtype=torch.int64)


def _by_document(
    corpus: Corpus, samples: int, seqlen: int, rng: random.Random, tokenizer: Any, what: str
) -> Tensor:
    """Draw a document, redraw while it is no longer than a sequence, then draw an offset."""
    drawn: list[Tensor] = []
    short: dict[int, int] = {}  # lengths of documents already found too short
    for _ in range(samples):
        for _ in range(MAX_DRAWS):
            index = rng.randint(0, len(corpus.documents) - 1)
            if index in short:
                continue
            tokens = tokenize(tokenizer, corpus.documents[index])
            if len(tokens) > seqlen:
                break
            short[index] = len(tokens)
        else:
            raise RequestError(
                f"{what}: {MAX_DRAWS} documents drawn, none longer than one sequence of "
                f"{_group(what)}.seqlen={seqlen} (the longest has {max(short.values())} tokens); "
                "lower it, or choose a corpus with longer documents"
            )
        start = rng.randint(0, len(tokens) - seqlen - 1)
        drawn.append(tokens[start : start + seqlen])
    return torch.stack(drawn)


def _sequences(key: str, path: str, seqlen: int) -> Tensor:
    """Read a tokenised file with `input_ids: (tokens,)` or `(sequences, tokens)`.

    Each row is cut into sequences of `seqlen`; its tail is dropped.
    """
    try:
        tensors = load_file(Path(path).expanduser())
    except (SafetensorError, OSError) as error:
        raise RequestError(f"{key}={path}: not a readable .safetensors file ({error})") from error
    if "input_ids" not in tensors:
        raise RequestError(f"{key}={path}: has no tensor input_ids, only {', '.join(tensors)}")
    ids = tensors["input_ids"].to(torch.int64)
    if ids.dim() == 1:
        ids = ids.unsqueeze(0)
    per_row = ids.shape[1] // seqlen
    if ids.numel() == 0 or per_row == 0:
        raise RequestError(
            f"{key}={path}: its rows have {ids.shape[1]} tokens, shorter than one sequence of "
            f"{seqlen}"
        )
    return ids[:, : per_row * seqlen].reshape(-1, seqlen)


def refuse_foreign_tokens(key: str, tokens: Tensor, vocabulary: int) -> None:
    """Raise on ids outside the model's vocabulary: another tokenizer produced the file."""
    low, high = int(tokens.min()), int(tokens.max())
    if low < 0 or high >= vocabulary:
        raise RequestError(
            f"{key}: token ids range from {low} to {high}, but the model's vocabulary has "
            f"{vocabulary} entries; tokenise the file with this model's tokenizer"
        )
