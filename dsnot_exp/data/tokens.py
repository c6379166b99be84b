"""Token ids, and where they come from."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from dsnot_exp.utils.errors import RequestError


@dataclass(frozen=True)
class Tokens:
    """Token ids and their source.

    ids: (sequences, seqlen) int64
    revision: commit on the hub
    held_out: (sequences, seqlen) int64; further sequences, which `ids` knows nothing of
    bos: every sequence starts with the BOS token
    warnings: what the user must know about them, one sentence each
    of: sequences of the whole text, where `ids` are only the first of them
    """

    ids: Tensor
    dataset: str
    revision: str | None = None
    held_out: Tensor | None = None
    bos: bool = False
    warnings: tuple[str, ...] = ()
    of: int | None = None

    def first(self, count: int | None) -> Tokens:
        """The first `count` sequences of an evaluation text; all with None, or if it has no more.
        A value on a part of a text must not be taken for one on the whole."""
        total = len(self.ids)
        if count is None or count >= total:
            return self
        warning = (
            f"eval.blocks={count}: perplexity is measured on the first {count} of the {total} "
            f"sequences of {self.dataset}; do not compare it with values of the whole text"
        )
        ids, warnings = self.ids[:count].clone(), (*self.warnings, warning)
        return dataclasses.replace(self, ids=ids, of=total, warnings=warnings)

    @property
    def size(self) -> int:
        """All tokens, held-out ones included."""
        return self.ids.numel() + (0 if self.held_out is None else self.held_out.numel())

    @functools.cached_property
    def distinct(self) -> int:
        """How many sequences differ from all others."""
        return len({hash(row.tobytes()) for row in self.ids.numpy()})

    def record(self) -> dict[str, Any]:
        """The entry for result.json."""
        record = {
            "dataset": self.dataset,
            "revision": self.revision,
            "sequences": self.ids.shape[0],
            "seqlen": self.ids.shape[1],
            "bos": self.bos,
            "distinct": self.distinct,
            "tokens_sha256": _sha256(self.ids),
        }
        if self.of is not None:
            record["of"] = self.of
        if self.held_out is not None:
            record["held_out"] = self.held_out.shape[0]
            record["held_out_sha256"] = _sha256(self.held_out)
        return record


def _sha256(ids: Tensor) -> str:
    return hashlib.sha256(ids.numpy().tobytes()).hexdigest()


def refuse_foreign_tokens(key: str, tokens: Tensor, vocabulary: int) -> None:
    """Raise on ids outside the model's vocabulary: another tokenizer produced the file."""
    low, high = int(tokens.min()), int(tokens.max())
    if low < 0 or high >= vocabulary:
        raise RequestError(
            f"{key}: token ids range from {low} to {high}, but the model's vocabulary has "
            f"{vocabulary} entries; tokenise the file with this model's tokenizer"
        )
