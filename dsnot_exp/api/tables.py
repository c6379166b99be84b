"""What the Python API shows as pandas tables. pandas is imported when a table is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dsnot_exp.config import STAGES

if TYPE_CHECKING:
    from pandas import DataFrame

    from dsnot_exp.models.masks import Overlap
    from dsnot_exp.walk.sparsified import Sparsified


ABOUT_TASK = ("version", "items", "num_fewshot", "bos")  # beside a task's metrics


def layer_table(sparse: Sparsified, seconds: Mapping[str, float]) -> DataFrame:
    """One row per pruned layer, in the order of the walk. seconds: by layer"""
    from pandas import DataFrame

    rows = []
    for record in sparse.records:
        rows.append(
            {
                "layer": record.layer,
                "weights": record.weights,
                "zeros": record.zeros,
                "sparsity": record.zeros / max(1, record.weights),
                "target": sparse.targets.get(record.layer),
                **{k: v for k, v in record.reconstruction().items() if k != "layer"},
                "seconds": seconds.get(record.layer),
                "note": sparse.notes.get(record.layer, ""),
            }
        )
    return DataFrame(rows)


def layers_of_result(result: Mapping[str, Any]) -> DataFrame:
    """The same of a result.json, as far as it has them."""
    from pandas import DataFrame

    errors = {row["layer"]: row for row in result["metrics"].get("reconstruction", [])}
    sparsity = result["sparsity"]
    rows = []
    for layer, share in sparsity["layers"].items():
        rows.append(
            {
                "layer": layer,
                "sparsity": share,
                "target": sparsity.get("targets", {}).get(layer),
                **{k: v for k, v in errors.get(layer, {}).items() if k != "layer"},
                "note": result.get("notes", {}).get(layer, ""),
            }
        )
    return DataFrame(rows, columns=None if rows else ["layer", "sparsity", "target", "note"])


def metric_table(result: Mapping[str, Any]) -> DataFrame:
    """One row per data set, and per task and metric; one column per stage that was measured."""
    from pandas import DataFrame

    rows: list[dict[str, Any]] = []
    for name, stages in result["metrics"]["perplexity"].items():
        rows.append({"kind": "perplexity", "name": name, "metric": "perplexity", **stages})
    for name, stages in result["metrics"]["zero_shot"].items():
        for metric in dict.fromkeys(key for values in stages.values() for key in values):
            measured = {stage: values.get(metric) for stage, values in stages.items()}
            numbers = any(isinstance(value, float) for value in measured.values())
            if numbers and metric not in ABOUT_TASK:
                rows.append({"kind": "zero_shot", "name": name, "metric": metric, **measured})
    present = [stage for stage in STAGES if any(stage in row for row in rows)]
    return DataFrame(rows, columns=["kind", "name", "metric", *present])


def overlap_table(found: Mapping[str, Overlap]) -> DataFrame:
    """One row per layer: how far two masks agree."""
    from pandas import DataFrame

    rows = [
        {
            "layer": layer,
            "jaccard": one.jaccard,
            "share_equal": one.share_equal,
            "both": one.both,
            "either": one.either,
            "entries": one.entries,
        }
        for layer, one in found.items()
    ]
    return DataFrame(rows)
