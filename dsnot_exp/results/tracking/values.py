"""Names and numbers of what a run reports while it goes.

The numbers of a block are gathered by kind of matrix: `error/mlp.up_proj` against the index of the
block is a curve, where one series over all layers would be a sawtooth. Metrics, seconds and bytes
have their names in result.json.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

from dsnot_exp.results.file import flatten
from dsnot_exp.results.privacy import private
from dsnot_exp.walk.record import LayerRecord, Solved
from dsnot_exp.walk.sparsified import Sparsified

OWN = "refined"  # the stage that is the run's own result; the values of its blocks have no prefix
MEANS = {
    "error": "relative_after",
    "expected_error": "expected_after",
}
BEFORE = {  # of the run's own result; without refinement they are the same
    "error_before": "relative_before",
    "expected_error_before": "expected_before",
}


def axis_of(stage: str) -> str:
    """The name of the block's index, against which the values of a stage's blocks are drawn."""
    return f"{_prefix(stage)}block"


def by_block(sparse: Sparsified) -> dict[int, Solved]:
    """What is known of each block, by its index in the model."""
    blocks: dict[int, Solved] = defaultdict(Solved)
    for record in sparse.records:
        blocks[_index(record.layer)].records.append(record)
    for choice in sparse.choices:
        blocks[_index(choice.block)].choice = choice
    for fit in sparse.fits:
        blocks[_index(fit.block)].fit = fit
    return blocks


def _index(name: str) -> int:
    """Of the block in the name of a layer or a block: `model.layers.3.mlp.up_proj` -> 3."""
    return next((int(part) for part in name.split(".") if part.isdigit()), 0)


def kind_of(layer: str) -> str:
    """The kind of matrix: `model.layers.3.mlp.experts.7.w1` -> `mlp.experts.w1`."""
    parts = layer.split(".")
    block = next((i for i, part in enumerate(parts) if part.isdigit()), -1)
    return ".".join(part for part in parts[block + 1 :] if not part.isdigit())


def block_values(stage: str, solved: Solved) -> dict[str, float]:
    """The numbers of a solved block by kind of matrix: the mean error over its layers, the sum of
    their swaps, the most cycles, and the sparsity of all their weights."""
    kinds: dict[str, list[LayerRecord]] = defaultdict(list)
    for record in solved.records:
        kinds[kind_of(record.layer)].append(record)
    values: dict[str, float | None] = {}
    for kind, records in kinds.items():
        for name, field in (MEANS | BEFORE if stage == OWN else MEANS).items():
            values[f"{name}/{kind}"] = _mean(getattr(record, field) for record in records)
        weights = sum(record.weights for record in records)
        if weights:
            values[f"layer_sparsity/{kind}"] = sum(r.zeros for r in records) / weights
        if stage == OWN:
            values[f"swaps/{kind}"] = sum(record.swaps for record in records)
            values[f"cycles/{kind}"] = max(record.cycles for record in records)
    if solved.choice is not None:
        values["max_cycles/chosen"] = _number(solved.choice.chosen)
    if fit := solved.fit:
        values |= {f"block_reconstruction/error_{when}": getattr(fit, f"error_{when}")
                   for when in ("before", "after")}  # fmt: skip
        values["block_reconstruction/chosen"] = fit.chosen
    known = {name: value for name, value in values.items() if value is not None}
    return {f"{_prefix(stage)}{name}": value for name, value in known.items()}


def metric_values(stage: str, group: str, name: str, value: Any) -> dict[str, float]:
    """A measurement under its name in result.json: `metrics/perplexity/wikitext2/dense`."""
    tree = {"metrics": {group: {name: {stage: value}}}}
    return numbers(private(tree))


def account_values(account: dict[str, Any]) -> dict[str, float]:
    """Seconds by phase so far, and peak memory; phases that have not begun are left out."""
    kept = {key: account[key] for key in ("timing_s", "memory")}
    return {name: value for name, value in numbers(kept).items() if value}


def numbers(tree: dict[str, Any]) -> dict[str, float]:
    """{"a": {"b": 1}} -> {"a/b": 1}; numbers only."""
    flat = flatten(tree, "/")
    return {k: v for k, v in flat.items() if isinstance(v, int | float) and not isinstance(v, bool)}


def _prefix(stage: str) -> str:
    return "" if stage == OWN else f"{stage}/"


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _number(text: str) -> float | None:
    convert: Callable[[str], float] = float
    try:
        return convert(text)
    except ValueError:
        return None
