"""Calibration sequences, drawn from a corpus as in the released code.

Released code: github zyxxmu/DSnoT, lib/data.py. The same seed selects the same tokens.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dsnot_exp.data.corpora import Corpus
from dsnot_exp.data.progress import Phase, Steps, unseen
from dsnot_exp.data.windows import Documents, Stream, Windows
from dsnot_exp.utils.errors import RequestError

REPORTS = 500  # of progress, at most


@dataclass(frozen=True)
class Drawn:
    """Sequences of tokens.

    ids: (samples, seqlen) int64
    held_out: (held_out, seqlen) int64; None if none were asked for
    overlap: for lack of other text, held-out sequences share text with `ids`
    """

    ids: Tensor
    held_out: Tensor | None = None
    overlap: bool = False


def sample(
    corpus: Corpus,
    samples: int,
    seqlen: int,
    seed: int,
    tokenizer: Any,
    what: str,
    held_out: int = 0,
    bos: int | None = None,
    phase: Phase = unseen,
) -> Drawn:
    """Draw `samples` sequences as in the released code, then `held_out` more from other text.

    what: the option and its value, for error messages
    bos: the token that each sequence starts with; None: sequences are text from end to end, and
        special tokens are where the tokenizer puts them in the corpus, as in the released code
    """
    rng, first = random.Random(seed), 0 if bos is None else 1
    rows, others = _rows(samples, seqlen, what), _rows(held_out, seqlen, what)
    if bos is not None:
        rows[:, 0] = others[:, 0] = bos
    text: Windows
    if corpus.by_document:
        text = Documents(corpus, seqlen - first, tokenizer, what, special=bos is None)
    else:
        with phase("tokenise", 1, what) as steps:
            text = Stream(corpus, seqlen - first, tokenizer, what, special=bos is None)
            steps.advance()
    with phase("sample", samples + held_out, what) as steps:
        taken = _draw(text, rng, rows[:, first:], steps)
        overlap = _draw_others(text, rng, others[:, first:], taken, steps)
    return Drawn(torch.from_numpy(rows), torch.from_numpy(others) if held_out else None, overlap)


def _rows(count: int, seqlen: int, what: str) -> np.ndarray:
    """Room for sequences, (count, seqlen) int64."""
    try:
        return np.empty((count, seqlen), np.int64)
    except (MemoryError, ValueError) as error:  # ValueError: more than an array can hold
        raise RequestError(
            f"{what.partition('.')[0]}.samples={count}: as many sequences of {seqlen} tokens do "
            "not fit in memory; lower it"
        ) from error


def _draw(
    text: Windows, rng: random.Random, rows: np.ndarray, steps: Steps
) -> list[tuple[int, int]]:
    """Fill `rows`, (sequences, width), as the released code does: draw a document, then an offset.

    Returns the document and the offset of every row.
    """
    taken = []
    every, width = max(1, len(rows) // REPORTS), rows.shape[1]
    for place, row in enumerate(rows, 1):
        document = text.document(rng)
        start = rng.randint(0, text.starts(document) - 1)
        row[:] = text.tokens(document)[start : start + width]
        taken.append((document, start))
        if place % every == 0:
            steps.advance(every)
    return taken


def _draw_others(
    text: Windows,
    rng: random.Random,
    rows: np.ndarray,
    taken: list[tuple[int, int]],
    steps: Steps,
) -> bool:
    """Fill `rows` with text outside the windows `taken`. True if there was not enough of it."""
    if not len(rows):
        return False
    width, overlap = rows.shape[1], False
    starts: dict[int, list[int]] = {}
    for document, start in taken:
        starts.setdefault(document, []).append(start)
    free: dict[int, np.ndarray] = {}  # offsets that share no token with `taken`, by document
    for row in rows:
        for _ in range(text.draws):
            document = text.document(rng)
            count = text.starts(document)
            if document not in free:
                free[document] = _free(count, width, starts.get(document, []))
            if overlap or len(free[document]):
                break
        else:
            overlap = True
        choice = np.arange(count) if overlap else free[document]
        start = int(choice[rng.randrange(len(choice))])
        row[:] = text.tokens(document)[start : start + width]
        steps.advance()
    return overlap


def _free(count: int, width: int, starts: list[int]) -> np.ndarray:
    """The offsets below `count` whose windows share no token with the windows at `starts`."""
    at = np.array(starts, np.int64)
    opened = np.bincount(np.maximum(at - width + 1, 0), minlength=count + 1)
    closed = np.bincount(np.minimum(at + width, count), minlength=count + 1)
    return np.flatnonzero(np.cumsum(opened - closed)[:count] == 0)
