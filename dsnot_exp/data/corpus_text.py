"""Tokens of a data set that is text: a corpus on the hub, tinyworld's, or the user's file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dsnot_exp.data.corpora import CORPORA, Corpus, TinyworldCorpus
from dsnot_exp.data.text_files import read_file
from dsnot_exp.data.token_cache import Tensors, cached


@dataclass(frozen=True)
class CorpusText:
    """A data set that is text, for one purpose.

    what: the option and its value, for error messages
    calibration: the text to calibrate on, else the text to evaluate on
    field: the field or column of the user's files that holds the text
    given: the text itself, if the caller holds it in memory
    """

    what: str
    dataset: str
    calibration: bool
    field: str
    given: Corpus | None = None

    def tokens(
        self,
        key: dict[str, Any],
        bos: int | None,
        tokenizer: Any,
        draw: Callable[[Corpus], Tensors],
    ) -> tuple[Tensors, str | None]:
        """`draw` of the text, and the text's commit on the hub. Tokens of hub corpora are cached by
        commit, tokenizer, `key` and the token that sequences start with."""
        if self.given is not None:
            return draw(self.given), None
        known = CORPORA.get(self.dataset)
        if known is None:
            return draw(read_file(self.what, self.dataset, self.field)), None
        if isinstance(known, TinyworldCorpus):
            return draw(known.read(self.calibration)), None
        file = known.file(self.calibration)
        source = {"repository": file.repository, "file": file.name, "commit": file.commit}
        start = {} if bos is None else {"bos": bos}

        def read() -> Tensors:
            return draw(known.read(file, self.calibration))

        return cached({**source, **key, **start}, tokenizer, read), file.commit
