"""Checks that an allocator can keep the sparsity that was asked for. Needs no torch."""

from __future__ import annotations

from typing import Any

from dsnot_exp.config import Config
from dsnot_exp.methods.allocate.options import (
    Bounded,
    FileOptions,
    LinearOptions,
    SearchOptions,
)
from dsnot_exp.methods.allocate.rules import read_rules
from dsnot_exp.methods.notation import UNSTRUCTURED
from dsnot_exp.run.build_method import check
from dsnot_exp.utils.errors import RequestError

FILE = "file"


def check_allocation(
    options: dict[str, Any], config: Config, amount: float | tuple[int, int]
) -> None:
    """`amount`: the model's sparsity, or N and M."""
    own, name = check("allocate", options), options["name"]
    if not isinstance(own, Bounded):
        return
    if isinstance(own, FileOptions):
        if isinstance(amount, tuple):
            given = config.pattern if config.pattern != UNSTRUCTURED else config.sparsity
            raise RequestError(
                f"pattern={given}: with allocate={name} the file says every layer's pattern; leave "
                "pattern out"
            )
        read_rules(own)
        return
    if isinstance(amount, tuple):
        n, m = amount
        raise RequestError(
            f"allocate={name}: pattern={n}:{m} keeps the same share of every layer; choose "
            "allocate=uniform, allocate=file, or pattern=unstructured"
        )
    if isinstance(own, LinearOptions | SearchOptions) and config.model.streaming.lower() == "true":
        raise RequestError(
            f"model.streaming=true: allocate={name} runs the whole model many times; choose "
            "model.streaming=auto, or an allocator that goes block by block, such as fisher"
        )
    if amount > own.most:
        raise RequestError(
            f"sparsity={amount}: more than allocate.most={own.most:g}, the largest sparsity of a "
            "layer; lower sparsity, or raise allocate.most"
        )
