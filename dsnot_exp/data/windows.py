"""Cuts sequences from a corpus: from one stream of tokens, or from documents one at a time."""

from __future__ import annotations

import random
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from dsnot_exp.data.corpora import Corpus
from dsnot_exp.utils.errors import RequestError

MAX_DRAWS = 20_000  # give up after this many short documents (3 % of c4 reach 2048 tokens)
KEPT_TOKENS = 1 << 27  # of documents, in memory: 512 MiB


class Windows(Protocol):
    """A corpus from which windows of `width` tokens are cut.

    draws: how many documents to draw in search of one that suits
    """

    draws: int

    def document(self, rng: random.Random) -> int:
        """Draw a document that holds a window. A stream is a single document; nothing is drawn."""

    def starts(self, document: int) -> int:
        """How many offsets the released code draws from; it never reaches the last token."""

    def tokens(self, document: int) -> np.ndarray:
        """The tokens of a document, (tokens,)."""


class Stream:
    """A corpus as one stream: its documents, joined and tokenised once."""

    draws = 1

    def __init__(
        self, corpus: Corpus, width: int, tokenizer: Any, what: str, special: bool = True
    ) -> None:
        joined = corpus.join.join(corpus.documents)
        self.stream = tokenize(tokenizer, joined, special).numpy()
        self.width = width
        if len(self.stream) < width:
            raise RequestError(
                f"{what}: has {len(self.stream)} tokens, shorter than one sequence of "
                f"{_length(what, width, special)}"
            )

    def document(self, rng: random.Random) -> int:
        return 0

    def starts(self, document: int) -> int:
        return max(1, len(self.stream) - self.width)

    def tokens(self, document: int) -> np.ndarray:
        return self.stream


class Documents:
    """A corpus of which one document is drawn at a time, each tokenised when it is first drawn.

    Tokens of documents that hold a window stay in memory, up to KEPT_TOKENS.
    """

    def __init__(
        self, corpus: Corpus, width: int, tokenizer: Any, what: str, special: bool = True
    ) -> None:
        self.texts, self.width, self.tokenizer = corpus.documents, width, tokenizer
        self.what, self.special, self.draws = what, special, MAX_DRAWS
        self.lengths: dict[int, int] = {}  # tokens of each document drawn so far
        self.kept: dict[int, np.ndarray] = {}
        self.total = 0  # tokens in `kept`

    def document(self, rng: random.Random) -> int:
        """Draw documents until one is longer than a window."""
        last = len(self.texts) - 1
        for _ in range(self.draws):
            index = rng.randint(0, last)
            length = self.lengths.get(index)
            if length is None:
                length = len(self.tokens(index))
            if length > self.width:
                return index
        raise RequestError(
            f"{self.what}: {self.draws} documents drawn, none longer than one sequence of "
            f"{_length(self.what, self.width, self.special)} (the longest has "
            f"{max(self.lengths.values())} tokens); lower it, or choose a corpus with longer "
            "documents"
        )

    def starts(self, document: int) -> int:
        return self.lengths[document] - self.width

    def tokens(self, document: int) -> np.ndarray:
        found = self.kept.get(document)
        if found is not None:
            return found
        ids = tokenize(self.tokenizer, self.texts[document], self.special).to(torch.int32).numpy()
        self.lengths[document] = len(ids)
        if len(ids) > self.width:
            self._keep(document, ids)
        return ids

    def _keep(self, document: int, ids: np.ndarray) -> None:
        while self.kept and self.total + len(ids) > KEPT_TOKENS:
            self.total -= len(self.kept.pop(next(iter(self.kept))))  # the oldest
        self.kept[document] = ids
        self.total += len(ids)


def blocks(corpus: Corpus, seqlen: int, tokenizer: Any, what: str, bos: int | None) -> Tensor:
    """The text of a corpus, tokenised once and cut into blocks, (blocks, seqlen) int64.

    bos: the token that each block starts with, or None
    """
    stream = tokenize(tokenizer, corpus.join.join(corpus.documents), special=bos is None)
    width = seqlen if bos is None else seqlen - 1
    count = len(stream) // width
    if count == 0:
        raise RequestError(
            f"{what}: has {len(stream)} tokens, shorter than one block of eval.seqlen={seqlen}"
        )
    cut = stream[: count * width].reshape(count, width)[: corpus.evaluated_blocks]
    return cut if bos is None else torch.cat([torch.full_like(cut[:, :1], bos), cut], 1)


def _length(what: str, width: int, special: bool) -> str:
    """The option that sets the length of a sequence, such as `finetune.seqlen=8`; without special
    tokens, BOS comes before a window."""
    return f"{what.partition('.')[0]}.seqlen={width if special else width + 1}"


def tokenize(tokenizer: Any, text: str, special: bool = True) -> Tensor:
    """Token ids, (tokens,), with the special tokens that the tokenizer adds by default, or none."""
    without = {} if special else {"add_special_tokens": False}
    return torch.tensor(tokenizer(text, verbose=False, **without)["input_ids"], dtype=torch.int64)
