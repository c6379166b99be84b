"""Data sets as arguments: a name, a path, texts, or token ids."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dsnot_exp.api.arguments import ArgumentError, names
from dsnot_exp.data.corpora import CORPORA, SUFFIXES
from dsnot_exp.data.given import Given

SHOWN = 40  # characters of a text in a message
LONGEST_NAME = 255  # characters of a name or path; more is a text


def data_set(argument: str, value: Any) -> str | Given:
    """The name or path of a data set, or the data set itself.

    argument: its name, for error messages
    """
    if isinstance(value, os.PathLike):
        return str(Path(value))
    if isinstance(value, str):
        _refuse_text(argument, value)
        return value
    if isinstance(value, Mapping) and "input_ids" in value:
        mask = value.get("attention_mask")
        ids = token_ids(argument, value["input_ids"])
        return Given(ids=ids, mask=None if mask is None else token_ids(argument, mask))
    if isinstance(value, Tensor | np.ndarray):
        return Given(ids=token_ids(argument, value))
    try:
        items = list(value)
    except TypeError:
        raise ArgumentError(
            f"{argument}={value!r}: expected the name or path of a data set, a list of texts, or "
            "token ids (sequences, tokens)"
        ) from None
    if items and not isinstance(items[0], str):
        return Given(ids=token_ids(argument, items))
    return Given.texts(_texts(argument, items))


def data_sets(perplexity: Any) -> tuple[dict[str, str], dict[str, Given]]:
    """What `evaluate` measures perplexity on: the data set of each name, and those in memory."""
    if not isinstance(perplexity, Mapping):
        found = {name: data_set("perplexity", name) for name in names("perplexity", perplexity)}
    else:
        found = {str(k): data_set(f"perplexity[{k!r}]", v) for k, v in perplexity.items()}
    given = {name: data for name, data in found.items() if isinstance(data, Given)}
    for name in given:
        if name in CORPORA:
            raise ArgumentError(
                f"perplexity[{name!r}]: the name of a corpus; give your text another name"
            )
    return {k: k if isinstance(v, Given) else v for k, v in found.items()}, given


def row_length(datasets: Mapping[str, str], given: Mapping[str, Given]) -> int | None:
    """Of token ids, if all data sets are such, with rows of the same length; else None."""
    ids = [given[name].ids if name in given else None for name in datasets.values()]
    lengths = {rows.shape[1] if rows is not None and rows.dim() == 2 else None for rows in ids}
    return lengths.pop() if len(lengths) == 1 else None


def _refuse_text(argument: str, value: str) -> None:
    """A string is a name or a path. A text that is given by mistake is told so."""
    known = value in CORPORA or value.lower().endswith(SUFFIXES)
    if not known and (len(value) > LONGEST_NAME or any(c.isspace() for c in value)):
        start = value[:SHOWN] + ("..." if len(value) > SHOWN else "")
        raise ArgumentError(
            f"{argument}={start!r}: a string is the name or the path of a data set; give a text "
            f"as a list, {argument}=[text]"
        )


def _texts(argument: str, items: list[Any]) -> list[str]:
    for place, text in enumerate(items):
        if not isinstance(text, str):
            raise ArgumentError(f"{argument}[{place}]: expected a text, not {type(text).__name__}")
    if not any(text.strip() for text in items):
        raise ArgumentError(f"{argument}: holds no text, only blanks; give other texts")
    return items


def token_ids(argument: str, value: Any) -> Tensor:
    """(rows, tokens) or (tokens,) in memory: of a tensor, an array, or a list of rows."""
    try:
        if isinstance(value, list | tuple) and any(isinstance(row, Tensor) for row in value):
            value = torch.cat([torch.atleast_2d(row.cpu()) for row in value])
        found = torch.as_tensor(value)
    except (RuntimeError, TypeError, ValueError) as error:
        raise ArgumentError(
            f"{argument}: expected texts, or rows of token ids of the same length"
        ) from error
    return found.detach().cpu()
