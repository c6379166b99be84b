"""docs/python.md lists every argument and every attribute, and its examples are calls that fit."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

import dsnot_exp
from dsnot_exp.api.evaluate import evaluate
from dsnot_exp.api.load import Run
from dsnot_exp.api.prune import prune
from dsnot_exp.api.sparse import Sparse
from dsnot_exp.methods import CLASSES

TEXT = (Path(__file__).parents[2] / "docs" / "python.md").read_text("utf-8")
FENCED = re.compile(r"```python\n(.*?)```", re.DOTALL)
CODE = FENCED.findall(TEXT)
WORDS = set(re.findall(r"\w+", "".join(re.findall(r"`[^`]+`", FENCED.sub("", TEXT))))) | set(
    re.findall(r"\w+", "".join(CODE))
)
INTERNAL = {"placed", "found", "record", "seconds_by_layer"}


@pytest.mark.parametrize("function", [prune, evaluate])
def test_every_argument_is_described(function: Any) -> None:
    names = set(inspect.signature(function).parameters)
    assert names <= WORDS
    assert all(re.search(rf"\b{name}\b", function.__doc__) for name in names)


def test_every_attribute_is_described() -> None:
    for kind in (Sparse, Run):
        public = {name for name in dir(kind) if not name.startswith("_")} - {"folder", "tokenizer"}
        public |= set(kind.__dataclass_fields__) - INTERNAL - {"folder", "tokenizer"}
        assert public <= WORDS, kind
    assert set(CLASSES) <= WORDS


@pytest.mark.parametrize("code", CODE)
def test_the_examples_fit(code: str) -> None:
    for call in (node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)):
        name = ast.unparse(call.func)
        if name not in ("dsnot_exp.prune", "dsnot_exp.evaluate", "dsnot_exp.load_run"):
            continue
        function = getattr(dsnot_exp, name.removeprefix("dsnot_exp."))
        keywords = {word.arg: None for word in call.keywords if word.arg}
        inspect.signature(function).bind(*call.args, **keywords)
