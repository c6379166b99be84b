"""Calibration and evaluation tokens, drawn as the released code draws them.

Released code: github zyxxmu/DSnoT, lib/data.py. The same seed selects the same tokens.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from dsnot_exp.data.corpora import Corpus, load_corpus
from dsnot_exp.errors import RequestError

MAX_DRAWS = 1000  # documents in a row that may be too short (3 % of c4 reach 2048 tokens)


def calibration_tokens(
    dataset: str, samples: int, seqlen: int, seed: int, tokenizer: Any
) -> Tensor:
    """`samples` sequences of `seqlen` tokens: (samples, seqlen), int64."""
    key = "calib.dataset"
    if dataset.endswith(".safetensors"):
        rows = _sequences(key, dataset, seqlen)
        if len(rows) < samples:
            raise RequestError(
                f"{key}={dataset}: holds {len(rows)} sequences of {seqlen} tokens, fewer than "
                f"calib.samples={samples}"
            )
        return rows[:samples]
    corpus = load_corpus(key, dataset, calibration=True)
    rng = random.Random(seed)
    if corpus.by_document:
        return _by_document(corpus, samples, seqlen, rng, tokenizer, f"{key}={dataset}")
    stream = tokenize(tokenizer, corpus.join.join(corpus.documents))
    if len(stream) < seqlen:
        raise RequestError(
            f"{key}={dataset}: {len(stream)} tokens, shorter than one sequence of "
            f"calib.seqlen={seqlen}"
        )
    starts = [rng.randint(0, max(0, len(stream) - seqlen - 1)) for _ in range(samples)]
    return torch.stack([stream[start : start + seqlen] for start in starts])


def evaluation_tokens(dataset: str, seqlen: int, tokenizer: Any) -> Tensor:
    """The evaluation text, tokenised once and cut into blocks: (blocks, seqlen), tail dropped."""
    key = "eval.perplexity"
    if dataset.endswith(".safetensors"):
        return _sequences(key, dataset, seqlen)
    corpus = load_corpus(key, dataset, calibration=False)
    stream = tokenize(tokenizer, corpus.join.join(corpus.documents))
    count = len(stream) // seqlen
    if count == 0:
        raise RequestError(
            f"{key}={dataset}: {len(stream)} tokens, shorter than one block of eval.seqlen={seqlen}"
        )
    blocks = stream[: count * seqlen].reshape(count, seqlen)
    return blocks[: corpus.evaluated_blocks]


def tokenize(tokenizer: Any, text: str) -> Tensor:
    """Token ids (tokens,), with the special tokens that the tokenizer adds by itself."""
    return torch.tensor(tokenizer(text, verbose=False)["input_ids"], dtype=torch.int64)


def _by_document(
    corpus: Corpus, samples: int, seqlen: int, rng: random.Random, tokenizer: Any, what: str
) -> Tensor:
    """Draw a document, redraw while it is not longer than a sequence, then draw the offset."""
    drawn: list[Tensor] = []
    for _ in range(samples):
        for _ in range(MAX_DRAWS):
            index = rng.randint(0, len(corpus.documents) - 1)
            tokens = tokenize(tokenizer, corpus.documents[index])
            if len(tokens) > seqlen:
                break
        else:
            raise RequestError(
                f"{what}: {MAX_DRAWS} documents drawn, none longer than one sequence of "
                f"calib.seqlen={seqlen}; lower it, or choose a corpus with longer documents"
            )
        start = rng.randint(0, len(tokens) - seqlen - 1)
        drawn.append(tokens[start : start + seqlen])
    return torch.stack(drawn)


def _sequences(key: str, path: str, seqlen: int) -> Tensor:
    """A tokenised file, `input_ids: (tokens,)` or `(sequences, tokens)`: each row cut into
    sequences of `seqlen`, its tail dropped."""
    try:
        tensors = load_file(Path(path).expanduser())
    except (SafetensorError, OSError) as error:
        raise RequestError(f"{key}={path}: no readable .safetensors file ({error})") from error
    if "input_ids" not in tensors:
        raise RequestError(f"{key}={path}: has no tensor input_ids, only {', '.join(tensors)}")
    ids = tensors["input_ids"].to(torch.int64)
    if ids.dim() == 1:
        ids = ids.unsqueeze(0)
    per_row = ids.shape[1] // seqlen
    if ids.numel() == 0 or per_row == 0:
        raise RequestError(
            f"{key}={path}: rows of {ids.shape[1]} tokens, shorter than one sequence of {seqlen}"
        )
    return ids[:, : per_row * seqlen].reshape(-1, seqlen)


def refuse_foreign_tokens(key: str, tokens: Tensor, vocabulary: int) -> None:
    """Token ids that the model does not have, from a file made with another tokenizer."""
    low, high = int(tokens.min()), int(tokens.max())
    if low < 0 or high >= vocabulary:
        raise RequestError(
            f"{key}: token ids from {low} to {high}, but the model's vocabulary has {vocabulary}; "
            "tokenise the file with this model's tokenizer"
        )
