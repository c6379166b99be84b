"""What a model card says, read from a result."""

from __future__ import annotations

import math
from typing import Any

from dsnot_exp.results.method_names import joined, method_of, methods_of, pretty
from dsnot_exp.results.stages import already_sparse, column_titles
from dsnot_exp.utils.words import percent, perplexity

VERSIONS = ("dsnot_exp", "torch", "transformers", "peft", "lm_eval", "python")


def base_name(result: dict[str, Any]) -> str:
    """The base model's id on the hub; else its name, or the last part of its path."""
    model = result["model"]
    name, path = str(model["name"]), model.get("path")
    if model.get("revision"):
        return str(path)
    return _last(path) if name in ("local", "hub") and path else name


def base_text(result: dict[str, Any]) -> str:
    name, revision = base_name(result), result["model"].get("revision")
    if revision:
        return f"[{name}](https://huggingface.co/{name}) (commit `{revision[:12]}`)"
    return f"`{name}`"


def stages(config: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(stage, method, its options) of every stage that did something."""
    found = []
    for group, name in methods_of(config).items() if method_of(config, "prune") != "none" else ():
        if name != "none":
            options = {k: v for k, v in config[group].items() if k != "name"}
            found.append((group, name, ", ".join(f"{k}={plain(v)}" for k, v in options.items())))
    return found


def methods(result: dict[str, Any]) -> str:
    """`Wanda + DSnoT`; empty for a model that this run did not prune."""
    return pretty(joined(methods_of(result["config"])))


def budget(config: dict[str, Any], achieved: float) -> str:
    pattern = config.get("pattern", "unstructured")
    return str(pattern) if pattern != "unstructured" else percent(achieved)


def calibration(result: dict[str, Any]) -> str:
    data = result["data"].get("calibration")
    if not data:
        return ""
    return (
        f"{_last(data['dataset'])}: {data['sequences']} sequences of {data['seqlen']} tokens "
        f"(sha256 of the tokens `{data['tokens_sha256'][:16]}`)"
    )


def table(result: dict[str, Any]) -> dict[str, Any]:
    """The rows of the metrics, by stage, under the titles of the run's closing table."""
    titles, metrics = column_titles(result), result["metrics"]
    rows = [*metrics["perplexity"].values(), *metrics["zero_shot"].values()]
    shown = {s: t for s, t in titles.items() if any(row.get(s) is not None for row in rows)}
    perplexities = [
        (_last(name), [_number(row.get(stage)) for stage in shown])
        for name, row in metrics["perplexity"].items()
    ]
    accuracy = [
        (name, [_accuracy(row.get(stage)) for stage in shown])
        for name, row in metrics["zero_shot"].items()
        if any("acc" in (row.get(stage) or {}) for stage in shown)
    ]
    columns = list(shown.values())
    return {"columns": columns, "perplexity": perplexities, "accuracy": accuracy}


def how_measured(result: dict[str, Any]) -> list[str]:
    """Sentences on what the numbers of `table` are."""
    said, metrics = [], result["metrics"]
    if metrics["perplexity"]:
        said.append("Perplexity: lower is better.")
        for name, data in result["data"]["evaluation"].items():
            amount = f"{data['sequences']} sequences of {data['seqlen']} tokens"
            said.append(f"{_last(name)}: {amount}.")
    if metrics["zero_shot"]:
        said.append("Accuracy: by lm-eval, with its standard error.")
        limit = result["config"]["eval"].get("limit")
        if limit is not None:
            said.append(f"Only the first {limit} items of each task were used.")
    failed = result.get("failed") or {}
    return [*said, *(f"{task} failed and is missing." for task in failed)]


def warnings(result: dict[str, Any]) -> list[str]:
    before = pretty(already_sparse(result))
    said = [f"The model was sparse before this run: {before}."] if before else []
    return [*said, *(str(line) for line in result.get("warnings", []))]


def versions(result: dict[str, Any]) -> dict[str, str]:
    return {name: result["environment"].get(name) for name in VERSIONS}


def plain(value: Any) -> str:
    """As on the command line."""
    if value is None or isinstance(value, bool):
        return str({None: "null", True: "true", False: "false"}[value])
    return f"[{','.join(map(plain, value))}]" if isinstance(value, list | tuple) else str(value)


def _last(path: str) -> str:
    """A data set's name; of a file its last part, since readers have no use for the folder."""
    return str(path).rstrip("/").rpartition("/")[2] or str(path)


def _number(value: Any) -> str:
    if not isinstance(value, int | float) or not math.isfinite(value):
        return ""
    return perplexity(value)


def _accuracy(found: Any) -> str:
    if not isinstance(found, dict) or not isinstance(found.get("acc"), int | float):
        return ""
    error = found.get("acc_stderr")
    return percent(found["acc"], error if isinstance(error, int | float) else None)
