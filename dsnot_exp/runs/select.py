"""Choose runs by conditions on their columns, and sort them."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from dsnot_exp.report.runs import number
from dsnot_exp.results.method_names import pretty
from dsnot_exp.runs.fields import known_keys, resolve
from dsnot_exp.utils.errors import RequestError
from dsnot_exp.utils.wanted import shown

CONDITION = re.compile(r"([^<>=!]+)(>=|<=|!=|=|>|<)(.*)", re.S)
COMPARED: dict[str, Callable[[Any, Any], bool]] = {
    ">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt,
}  # fmt: skip
Row = dict[str, Any]


@dataclass(frozen=True)
class Condition:
    """`key` `sign` `value`, such as sparsity >= 0.6; = and != take several values. None holds for a
    run that does not have the field."""

    key: str
    sign: str
    value: str

    def holds(self, row: Row) -> bool:
        if self.key not in row:
            return False
        found = row[self.key]
        if self.key == "method":  # as it is written in results, or as it is printed
            found = [found, pretty(str(found))]
        if self.sign in COMPARED:
            return _compares(COMPARED[self.sign], found, self.value)
        equal = any(_equals(found, one) for one in self.value.split(","))
        return equal if self.sign == "=" else not equal


def conditions(words: Sequence[str], rows: Sequence[Row]) -> list[Condition]:
    """The conditions of `--filter`. Raises for one that no run could be meant by."""
    known = known_keys(rows)
    return [_condition(word, known) for word in words]


def _condition(word: str, known: list[str]) -> Condition:
    flag = f"--filter {word}"
    parts = CONDITION.fullmatch(word.strip())
    if parts is None:
        raise RequestError(f"{flag}: expected KEY=VALUE, such as prune=wanda or 'sparsity>=0.6'")
    key, sign, value = (part.strip() for part in parts.groups())
    key = resolve(key, known, flag)
    if sign in COMPARED and key != "date" and _as_number(value) is None:
        raise RequestError(f"{flag}: {sign} compares numbers, and {value or 'nothing'} is none")
    return Condition(key, sign, value)


def chosen(rows: Sequence[Row], asked: Sequence[Condition]) -> list[Row]:
    """The rows for which all conditions hold."""
    return [row for row in rows if all(condition.holds(row) for condition in asked)]


def in_order_of(rows: Sequence[Row], word: str, known: Sequence[str]) -> list[Row]:
    """Sorted by a column, `-KEY` from the largest down; runs without a value come last. known: the
    columns that there are"""
    down, name = word.startswith("-"), word.removeprefix("-")
    key = resolve(name, known, f"--sort {word}")
    with_value = [row for row in rows if row.get(key) is not None]

    def rank(row: Row) -> tuple[bool, float, str]:
        figure = number(row[key])
        return (figure is None, figure or 0.0, "" if figure is not None else str(row[key]))

    rest = [row for row in rows if row.get(key) is None]
    return sorted(with_value, key=rank, reverse=down) + rest


def _equals(found: Any, value: str) -> bool:
    """Numbers by their value, texts by a glob, lists by any of their entries."""
    if isinstance(found, list):
        return any(_equals(one, value) for one in found) or (not found and value == "[]")
    figure, asked = number(found), _as_number(value)
    if figure is not None and asked is not None:
        return math.isclose(figure, asked, rel_tol=1e-9, abs_tol=0.0)
    return fnmatchcase(shown(found), value)


def _compares(test: Callable[[Any, Any], bool], found: Any, value: str) -> bool:
    figure, asked = number(found), _as_number(value)
    if asked is not None:
        return figure is not None and test(figure, asked)
    return isinstance(found, str) and test(found, value)  # dates: 2026-11-30 12:00


def _as_number(text: str) -> float | None:
    try:
        return number(float(text))
    except ValueError:
        return None
