"""The mirror of a result in Weights & Biases: everything that result.json holds."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, cast

from dsnot_exp.config import WandbConfig
from dsnot_exp.track.result import flatten

log = logging.getLogger(__name__)


def summary(tree: dict[str, Any]) -> dict[str, Any]:
    """{"a": {"b": 1}} -> {"a/b": 1}, numbers and short texts only."""
    flat = flatten(tree, "/")
    return {key: value for key, value in flat.items() if isinstance(value, int | float | str)}


def mirror(options: WandbConfig, folder: Path, result: dict[str, Any], figure: Path | None) -> str:
    """Log a finished result; returns the line that says where it is, or why it is not there.

    The result file comes first and W&B second: what fails here is said and costs nothing else.
    """
    if options.mode == "disabled":
        return "disabled"
    import wandb

    try:
        with wandb.init(
            mode=cast(Any, options.mode),
            project=options.project,
            entity=options.entity,
            group=options.group or result["config"]["sweep"],
            tags=options.tags,
            name=folder.name,
            dir=folder,
            config=result["config"],
            settings=wandb.Settings(silent=True, console="off", disable_git=True),
            reinit="finish_previous",
        ) as run:
            _log(run, result, figure)
            url, offline_folder = run.url, Path(run.dir).parent
    except Exception as error:  # never lose a finished result to its mirror
        log.exception("W&B")
        return f"not logged: {(str(error).splitlines() or [repr(error)])[0]}"
    return url or f"offline; to upload: wandb sync {offline_folder}"


def _log(run: Any, result: dict[str, Any], figure: Path | None) -> None:
    import wandb

    rows = result["metrics"]["reconstruction"]
    for step, row in enumerate(rows):
        numbers = {f"layer/{k}": v for k, v in row.items() if isinstance(v, int | float)}
        layer = {"layer/sparsity": result["sparsity"]["layers"][row["layer"]]}
        run.log({**numbers, **layer}, step=step)
    tables: dict[str, Any] = {"tables/metrics": metrics_table(wandb, result)}
    if rows:
        data = [list(row.values()) for row in rows]
        tables["tables/layers"] = wandb.Table(list(rows[0]), data=data)
    if figure is not None:
        tables["figures/errors"] = wandb.Image(str(figure))
    run.log(tables)
    for key in ("metrics", "timing_s", "memory", "environment", "model"):
        run.summary.update(summary({key: result[key]}))
    overall = {k: v for k, v in result["sparsity"].items() if k != "layers"}  # they are a table
    run.summary.update(summary({"sparsity": overall}))
    run.summary.update({key: result[key] for key in ("masks_sha256", "config_hash", "command")})


def metrics_table(wandb: Any, result: dict[str, Any]) -> Any:
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
    return wandb.Table(["name", "metric", "stage", "value"], data=rows)
