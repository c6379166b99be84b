"""Data sets that the caller holds in memory: texts, or token ids."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from dsnot_exp.data.corpora import Corpus


@dataclass(frozen=True)
class Given:
    """Texts or token ids; the other one is None.

    corpus: one text as a .txt file has it, several as the documents of a .jsonl file
    ids, mask: as `input_ids` and `attention_mask` of a tokenised file
    """

    corpus: Corpus | None = None
    ids: Tensor | None = None
    mask: Tensor | None = None

    @classmethod
    def texts(cls, texts: list[str]) -> Given:
        if len(texts) == 1:
            return cls(Corpus(texts, ""))
        return cls(Corpus(texts, "\n\n", by_document=True))
