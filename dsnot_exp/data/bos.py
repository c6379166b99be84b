"""Whether calibration and evaluation sequences start with the BOS token.

The papers tokenise a text once and cut it anywhere, so that hardly any sequence starts with BOS.
Gemma models have seen no text without BOS; their perplexity is far too high without it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from dsnot_exp.utils.errors import RequestError

NEEDED_BY = "gemma"  # part of the model_type of every such family, such as recurrent_gemma


@dataclass(frozen=True)
class Bos:
    """The option `calib.bos` or `eval.bos`, and what it depends on.

    key, asked: the option and its value
    family: the model's type if it needs BOS, else None
    token: the id of BOS; None if the model has none
    """

    key: str = "calib.bos"
    asked: str = "auto"
    family: str | None = None
    token: int | None = None

    @property
    def wanted(self) -> bool:
        return self.asked == "true" or (self.asked == "auto" and self.family is not None)

    @property
    def first(self) -> int | None:
        """The token to put before each window of a text, or None."""
        return self.token if self.wanted else None

    @property
    def of_tasks(self) -> bool | None:
        """Whether the requests of lm-eval's tasks start with BOS; None: as the tokenizer does."""
        if self.first is not None:
            return True
        return False if self.asked == "false" else None

    @property
    def warnings(self) -> tuple[str, ...]:
        """What to tell the user about a text."""
        if not self.wanted or self.token is not None:
            return ()
        return (
            f"{self.key}=auto: {self.family} models need BOS at the start of every sequence, but "
            "the tokenizer has no bos_token; perplexity is far too high without it",
        )

    def of_rows(self, rows: Tensor, what: str) -> tuple[bool, tuple[str, ...]]:
        """Whether all `rows`, (sequences, tokens), of a tokenised file start with BOS, and what to
        tell the user."""
        lacking = len(rows) if self.token is None else int((rows[:, 0] != self.token).sum())
        if not lacking or not self.wanted:
            return not lacking, ()
        problem = (
            f"{what}: {lacking} of {len(rows)} sequences do not start with BOS (token {self.token})"
        )
        if self.asked == "true":
            raise RequestError(
                f"{problem}, against {self.key}=true; tokenise the file with BOS at the start of "
                f"every {rows.shape[1]} tokens, or choose {self.key}=false"
            )
        remedy = "tokenise the file with it: perplexity is far too high without"
        return False, (f"{problem}, which {self.family} models need; {remedy}",)


def bos_of(key: str, asked: str, config: Any, tokenizer: Any) -> Bos:
    """`config`: of the model. `tokenizer`: None if every data set is tokenised."""
    text = config.get_text_config()
    types = [str(getattr(one, "model_type", "")) for one in (config, text)]
    family = next((name for name in types if NEEDED_BY in name), None)
    token = getattr(text if tokenizer is None else tokenizer, "bos_token_id", None)
    if asked == "true" and token is None:
        raise RequestError(f"{key}=true: the tokenizer has no bos_token; choose {key}=false")
    return Bos(key, asked, family, token)
