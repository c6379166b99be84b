"""Loads the calibration and evaluation tokens of a data set."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor

from dsnot_exp.data.bos import Bos
from dsnot_exp.data.corpora import FIELD, Corpus, is_tokenised
from dsnot_exp.data.corpus_text import CorpusText
from dsnot_exp.data.given import Given
from dsnot_exp.data.progress import Phase, unseen
from dsnot_exp.data.sampling import sample
from dsnot_exp.data.token_cache import Tensors
from dsnot_exp.data.token_files import read_rows, rows_of, split_rows
from dsnot_exp.data.tokens import Tokens
from dsnot_exp.data.windows import blocks

NO_BOS = Bos()
ON_DISK = Given()  # the data set is a name or a file
COINCIDENCE = 0.05  # of the sequences; if a text holds fewer than are drawn, over a third repeat


def calibration_tokens(
    dataset: str,
    samples: int,
    seqlen: int,
    seed: int,
    tokenizer: Any,
    group: str = "calib",
    *,
    held_out: int = 0,
    field: str = FIELD,
    bos: Bos = NO_BOS,
    phase: Phase = unseen,
    given: Given = ON_DISK,
) -> Tokens:
    """`samples` sequences of `seqlen` tokens, and `held_out` further ones, which change nothing in
    the `samples`.

    group: the option group, for error messages
    field: the field or column of the user's files that holds the text
    given: the data set itself, if the caller holds it in memory
    """
    what = f"{group}.dataset={dataset}"
    rows = _rows(what, dataset, seqlen, given)
    if rows is not None:
        ids, others, warnings = split_rows(what, rows, samples, held_out)
        starts, more = bos.of_rows(ids, what)
        return _with_warnings(Tokens(ids, dataset, None, others, starts), warnings + more, group)

    def draw(corpus: Corpus) -> Tensors:
        drawn = sample(corpus, samples, seqlen, seed, tokenizer, what, held_out, bos.first, phase)
        if drawn.held_out is None:
            return {"input_ids": drawn.ids}
        overlap = torch.tensor([drawn.overlap])
        return {"input_ids": drawn.ids, "held_out": drawn.held_out, "overlap": overlap}

    key = {"samples": samples, "seqlen": seqlen, "seed": seed}
    key |= {"held_out": held_out} if held_out else {}
    text = CorpusText(what, dataset, True, field, given.corpus)
    found, revision = text.tokens(key, bos.first, tokenizer, draw)
    warnings = bos.warnings
    if "overlap" in found and bool(found["overlap"].any()):
        warnings += (
            f"{group}.held_out={held_out}: {dataset} has no text beside the {samples} sequences of "
            f"{group}.samples, so held-out sequences overlap them; lower {group}.samples",
        )
    tokens = Tokens(
        found["input_ids"], dataset, revision, found.get("held_out"), bos.first is not None
    )
    return _with_warnings(tokens, warnings, group)


def _rows(what: str, dataset: str, seqlen: int, given: Given) -> Tensor | None:
    """(sequences, seqlen) of a data set that is tokenised already; None if it is text."""
    if given.ids is not None:
        return rows_of(what, given.ids, given.mask, seqlen)
    if given.corpus is None and is_tokenised(dataset):
        return read_rows(what, dataset, seqlen)
    return None


def _with_warnings(tokens: Tokens, warnings: tuple[str, ...], group: str) -> Tokens:
    """`tokens` with these warnings, and one if more sequences repeat others than by coincidence."""
    count = len(tokens.ids)
    if tokens.distinct < (1 - COINCIDENCE) * count:
        warnings += (
            f"{group}.samples={count}: only {tokens.distinct} of the sequences from "
            f"{tokens.dataset} are distinct; lower it, or choose a larger data set",
        )
    return dataclasses.replace(tokens, warnings=warnings)


def evaluation_tokens(
    dataset: str,
    seqlen: int,
    tokenizer: Any,
    *,
    field: str = FIELD,
    bos: Bos = NO_BOS,
    phase: Phase = unseen,
    given: Given = ON_DISK,
) -> Tokens:
    """Tokenise the evaluation text once and cut it into blocks of `seqlen`. Drop the tail.

    With BOS, a block is BOS and `seqlen` - 1 tokens of text.
    """
    what = f"eval.perplexity={dataset}"
    rows = _rows(what, dataset, seqlen, given)
    if rows is not None:
        starts, warnings = bos.of_rows(rows, what)
        return Tokens(rows, dataset, bos=starts, warnings=warnings)

    def cut(corpus: Corpus) -> Tensors:
        with phase("tokenise", 1, what) as steps:
            found = blocks(corpus, seqlen, tokenizer, what, bos.first)
            steps.advance()
        return {"input_ids": found}

    text = CorpusText(what, dataset, False, field, given.corpus)
    found, revision = text.tokens({"seqlen": seqlen}, bos.first, tokenizer, cut)
    return Tokens(
        found["input_ids"], dataset, revision, bos=bos.first is not None, warnings=bos.warnings
    )
