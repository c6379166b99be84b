"""The tables of a finished run at W&B."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast


def media(result: dict[str, Any], figure: Path | None) -> dict[str, Any]:
    """By name: all metrics, all layers, and the error plot."""
    import wandb

    found: dict[str, Any] = {"tables/metrics": _metrics(result)}
    if rows := result["metrics"]["reconstruction"]:
        shares = result["sparsity"]["layers"]
        rows = [{**row, "sparsity": shares[row["layer"]]} for row in rows]
        found["tables/layers"] = _table(list(rows[0]), [list(row.values()) for row in rows])
    if figure is not None:
        found["figures/errors"] = wandb.Image(str(figure))
    return found


def _metrics(result: dict[str, Any]) -> Any:
    """One row per data set or task and stage."""
    rows = [
        [name, "perplexity", stage, value]
        for name, stages in result["metrics"]["perplexity"].items()
        for stage, value in stages.items()
    ]
    rows += [
        [task, metric, stage, value]
        for task, stages in result["metrics"]["zero_shot"].items()
        for stage, metrics in stages.items()
        for metric, value in metrics.items()
        if isinstance(value, float)
    ]
    return _table(["name", "metric", "stage", "value"], rows)


def _table(columns: list[str], rows: list[list[Any]]) -> Any:
    """A table stored as a file of the run. With the type "table", W&B would also log an artifact,
    named after and stored at a path in the user's home; another type avoids that."""
    import wandb

    table = wandb.Table(columns, data=rows)
    cast(Any, table)._log_type = "table-file"
    return table
