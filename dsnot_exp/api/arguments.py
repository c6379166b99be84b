"""From arguments to options, and from messages about options to messages about arguments."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dsnot_exp.config import Config, to_config
from dsnot_exp.methods.notation import AMOUNT
from dsnot_exp.utils.errors import DsnotError, RequestError
from dsnot_exp.utils.wanted import accepted, expected

GIVEN = "given"  # the name of calibration data that the caller holds in memory

ARGUMENTS = {
    "calib.dataset": "calibration",
    "calib.target.alpha": "target[0]",
    "calib.target.beta": "target[1]",
    "eval.blocks": "blocks",
    "eval.num_fewshot": "num_fewshot",
    "eval.perplexity": "perplexity",
    "model.path": "model",
    **{f"calib.{key}": key for key in ("samples", "held_out", "seqlen", "batch_size", "field")},
    **{f"calib.{key}": key for key in ("bos", "states", "min_tokens")},
    **{f"eval.{key}": key for key in ("seqlen", "tasks", "limit", "batch_size", "bos", "field")},
    **{f"model.{key}": key for key in ("dense", "blocks")},
}  # fmt: skip
OPTIONS = re.compile(
    rf"(?<![\w.])({'|'.join(re.escape(key) for key in sorted(ARGUMENTS, reverse=True))})(?![\w.])"
)
PHRASES = (
    (re.compile(rf"calib\.dataset={GIVEN}\b"), "calibration"),
    (re.compile(r"'model\.dense=(\[.*?\])'"), r"dense=\1"),  # as a shell takes it
    (re.compile(r"model\.dtype=(\w+)"), r"model.to(torch.\1)"),
    (re.compile(r"use eval=ppl"), "leave tasks out"),
    (re.compile(r"\bor null\b"), "or None"),
    (re.compile(r"\btrue(,| or) false\b"), r"True\1 False"),
)


class ArgumentError(RequestError, ValueError):
    """An argument that cannot be meant: its name, its value and the remedy, in one line. Raised
    before anything is computed."""


@contextmanager
def named_arguments() -> Iterator[None]:
    """Errors of the code that the command line shares name arguments instead of options."""
    try:
        yield
    except ArgumentError:
        raise
    except RequestError as error:
        raise ArgumentError(in_arguments(str(error))) from error
    except DsnotError as error:
        raise type(error)(in_arguments(str(error))) from error


def in_arguments(message: str) -> str:
    """`calib.samples=0: expected 1 or more` as `samples=0: expected 1 or more`."""
    for pattern, words in PHRASES:
        message = pattern.sub(words, message)
    return OPTIONS.sub(lambda found: ARGUMENTS[found[1]], message)


def config_of(values: Mapping[str, Any]) -> Config:
    """The configuration with these values, by option, such as {"calib.samples": 64}. A value of
    another type is refused."""
    node = OmegaConf.structured(Config)
    for key, value in values.items():
        try:
            OmegaConf.update(node, key, plain(value))
        except OmegaConfBaseException as error:
            wanted = AMOUNT if key == "sparsity" else expected(accepted(Config, key))
            raise RequestError(f"{key}={value!r}: expected {wanted}") from error
    return to_config(node)


def plain(value: Any) -> Any:
    """Numbers of numpy and torch as Python's; tuples as lists."""
    if isinstance(value, Mapping):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple | set):
        return [plain(one) for one in value]
    scalar = hasattr(value, "item") and getattr(value, "ndim", None) == 0
    return value.item() if scalar else value


def switch(value: bool | str) -> str:
    """True and False as the command line's `true` and `false`."""
    return str(value).lower()


def names(argument: str, value: str | Sequence[str] | None) -> list[str]:
    """One name or several as a list of them."""
    found = [value] if isinstance(value, str) else list(value or [])
    for one in found:
        if not isinstance(one, str):
            raise ArgumentError(f"{argument}={one!r}: expected a name, or a list of names")
    return found
