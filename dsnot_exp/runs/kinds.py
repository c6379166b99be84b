"""The error of a run's layers by their kind: the name inside a block, such as mlp.up_proj."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from dsnot_exp.report.runs import number
from dsnot_exp.runs.fields import ERRORS

INDEX = re.compile(r"(?<=\.)\d+(?=\.)")


def kind_of(layer: str) -> str:
    """`model.layers.3.mlp.up_proj` -> `mlp.up_proj`; of experts, `mlp.experts.*.w1`."""
    first = INDEX.search(layer)
    return INDEX.sub("*", layer[first.end() + 1 :]) if first else layer


@dataclass(frozen=True)
class Kind:
    """Means over the layers of a kind. errors: `relative_before`, ...; None: not measured"""

    name: str
    layers: int
    sparsity: float | None
    errors: dict[str, float | None]
    swaps: int


def by_kind(result: dict[str, Any]) -> list[Kind]:
    """In the order of the kinds in a block."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in result["metrics"]["reconstruction"]:
        groups.setdefault(kind_of(str(row.get("layer"))), []).append(row)
    shares = result["sparsity"].get("layers") or {}
    return [
        Kind(
            name,
            len(rows),
            _mean([shares.get(row.get("layer")) for row in rows]),
            {key: _mean([row.get(key) for row in rows]) for key in ERRORS},
            sum(int(number(row.get("swaps")) or 0) for row in rows),
        )
        for name, rows in groups.items()
    ]


def _mean(values: list[Any]) -> float | None:
    known = [value for value in map(number, values) if value is not None]
    return sum(known) / len(known) if known else None
