"""Texts whose tokens tell where they were cut, and the released sampler, slow and obvious."""

from __future__ import annotations

import random
from collections.abc import Sequence

Rows = list[list[int]]


def characters(text: str, verbose: bool = True) -> dict[str, list[int]]:
    """One token per character."""
    return {"input_ids": [ord(c) for c in text]}


def released_by_document(texts: Sequence[str], samples: int, seqlen: int, seed: int) -> Rows:
    """lib/data.py, get_c4: the loop as it stands there, for one token per character."""
    random.seed(seed)
    rows = []
    for _ in range(samples):
        while True:
            i = random.randint(0, len(texts) - 1)
            ids = [ord(c) for c in texts[i]]
            if len(ids) > seqlen:
                break
        i = random.randint(0, len(ids) - seqlen - 1)
        rows.append(ids[i : i + seqlen])
    return rows


def released_from_stream(text: str, samples: int, seqlen: int, seed: int) -> Rows:
    """lib/data.py, get_wikitext2 and get_ptb."""
    random.seed(seed)
    rows = []
    for _ in range(samples):
        i = random.randint(0, len(text) - seqlen - 1)
        rows.append([ord(c) for c in text[i : i + seqlen]])
    return rows


def text_of(length: int, start: int = 0) -> str:
    """No two tokens of it are the same, so that a sequence tells where it was cut."""
    return "".join(chr(0x4E00 + start + place) for place in range(length))
