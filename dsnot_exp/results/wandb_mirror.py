"""Copies a result to Weights & Biases: everything in result.json."""

from __future__ import annotations

import hashlib
import logging
import os
import shlex
import shutil
from pathlib import Path
from typing import Any, cast

from dsnot_exp.config import WandbConfig
from dsnot_exp.results.file import flatten

log = logging.getLogger(__name__)

# Send nothing about the machine, its user or the process; result.json has the relevant facts.
QUIET: dict[str, Any] = {
    "silent": True,
    "console": "off",
    "symlink": False,
    "disable_git": True,
    "disable_code": True,
    "save_code": False,
    "disable_job_creation": True,
    "label_disable": True,
    "x_disable_meta": True,
    "x_disable_machine_info": True,
    "x_disable_stats": True,
    "x_save_requirements": False,
    "host": "-",
    "username": "-",
    "email": "-",
    "program": "dsnot_exp",
    "x_executable": "-",
}


def summary(tree: dict[str, Any]) -> dict[str, Any]:
    """{"a": {"b": 1}} -> {"a/b": 1}; numbers and strings only."""
    flat = flatten(tree, "/")
    return {key: value for key, value in flat.items() if isinstance(value, int | float | str)}


def mirror(options: WandbConfig, folder: Path, result: dict[str, Any], figure: Path | None) -> str:
    """Log a finished result; returns a line with the W&B run's location, or the reason for failure.

    result.json is already written, so an error here is only reported.
    """
    if options.mode == "disabled":
        return "disabled"
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # send no crash reports to W&B
    import wandb

    given = result["config"]["wandb"]  # `options` without private values
    try:
        with wandb.init(
            mode=cast(Any, options.mode),
            project=given["project"],
            entity=given["entity"],
            group=given["group"] or result["config"]["sweep"],
            tags=given["tags"],
            id=wandb_id(result),
            # A resumed offline run would get new step numbers from `wandb sync`.
            resume="allow" if options.mode == "online" else None,
            name=folder.name,
            dir=folder,
            config=result["config"],
            settings=wandb.Settings(**QUIET),
            reinit="finish_previous",
        ) as run:
            _log(run, result, figure)
            url, kept = run.url, Path(run.dir).parent
    except Exception as error:  # W&B must never fail a finished run
        log.exception("W&B")
        return f"not logged: {(str(error).splitlines() or [repr(error)])[0]}"
    finally:
        for logs in folder.glob("wandb/*/logs"):  # contain paths; `sync` needs none
            shutil.rmtree(logs, ignore_errors=True)
    for older in folder.glob(f"wandb/offline-run-*-{wandb_id(result)}"):
        if older.name != kept.name:  # from an earlier attempt of the same run
            shutil.rmtree(older, ignore_errors=True)
    return url or f"offline; to upload: wandb sync {shlex.quote(str(kept))}"


def wandb_id(result: dict[str, Any]) -> str:
    """One id per run and sweep, so that a rerun replaces the earlier W&B run."""
    name = f"{result['config']['sweep']} {result['config_hash']}"
    return hashlib.sha256(name.encode()).hexdigest()[:16]


def _log(run: Any, result: dict[str, Any], figure: Path | None) -> None:
    import wandb

    rows = result["metrics"]["reconstruction"]
    for step, row in enumerate(rows):
        numbers = {f"layer/{k}": v for k, v in row.items() if isinstance(v, int | float)}
        layer = {"layer/sparsity": result["sparsity"]["layers"][row["layer"]]}
        if step >= run.starting_step:  # a resumed W&B run already has the earlier steps
            run.log({**numbers, **layer}, step=step)
    tables: dict[str, Any] = {"tables/metrics": metrics_table(result)}
    if rows:
        tables["tables/layers"] = _table(list(rows[0]), [list(row.values()) for row in rows])
    if figure is not None:
        tables["figures/errors"] = wandb.Image(str(figure))
    run.log(tables)
    overall = {
        k: v for k, v in result["sparsity"].items() if k not in ("layers", "targets")
    }  # in a table
    rest = {k: v for k, v in result.items() if k != "config"}  # passed to wandb.init
    run.summary.update(summary({**rest, "sparsity": overall}))


def metrics_table(result: dict[str, Any]) -> Any:
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
