"""python -m dsnot_exp.report outputs/runs: one line per run, as a Markdown table."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from dsnot_exp.identity import WITHOUT_EFFECT
from dsnot_exp.track.result import NAME, SCHEMA, flatten


def load(folder: Path) -> list[dict[str, Any]]:
    """Every whole result below `folder`; what cannot be read is named on stderr."""
    results = []
    for path in sorted(folder.glob(f"**/{NAME}")):
        try:
            result = json.loads(path.read_text("utf-8"))
            if result["schema"] > SCHEMA:
                raise ValueError(f"schema {result['schema']} is newer than this program")
            results.append(result)
        except (OSError, ValueError, KeyError, TypeError) as error:
            print(f"{path}: left out ({error})", file=sys.stderr)
    return results


def varied(results: list[dict[str, Any]]) -> list[str]:
    """The options in which the runs differ."""
    options = [flatten(r["config"]) for r in results]
    keys = [k for k in options[0] if k.split(".")[0] not in WITHOUT_EFFECT]
    return [k for k in keys if len({str(o.get(k)) for o in options}) > 1]


def columns(result: dict[str, Any]) -> dict[str, float]:
    """The numbers of one run by column."""
    metrics = result["metrics"]
    found: dict[str, float] = {"achieved": result["sparsity"]["achieved"]}
    for name, stages in metrics["perplexity"].items():
        found |= {f"{name} {stage}": value for stage, value in stages.items()}
    for task, stages in metrics["zero_shot"].items():
        found |= {f"{task} {stage}": v["acc"] for stage, v in stages.items() if "acc" in v}
    rows = [r for r in metrics["reconstruction"] if r["expected_before"] is not None]
    for kind in ("expected", "relative"):
        for when in ("before", "after"):
            values = [r[f"{kind}_{when}"] for r in rows if r[f"{kind}_{when}"] is not None]
            if values:
                found[f"{kind} error {when}"] = sum(values) / len(values)
    return found


def markdown(results: list[dict[str, Any]]) -> str:
    """A row per run: the options that vary, then its numbers."""
    keys = varied(results)
    order = [[_sortable(flatten(r["config"]).get(k)) for k in keys] for r in results]
    results = [r for _, r in sorted(zip(order, results, strict=True), key=lambda pair: pair[0])]
    numbers = list(dict.fromkeys(name for r in results for name in columns(r)))
    lines = [[*keys, *numbers], ["---"] * len(keys) + ["---:"] * len(numbers)]
    for result in results:
        options, values = flatten(result["config"]), columns(result)
        cells = [f"{values[n]:.4g}" if n in values else "" for n in numbers]
        lines.append([*[str(options.get(k)) for k in keys], *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _sortable(value: Any) -> tuple[int, float, str]:
    number = isinstance(value, int | float)
    return (0, value, "") if number else (1, 0.0, str(value))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m dsnot_exp.report", description=__doc__)
    parser.add_argument("folder", type=Path, help="a run's folder, or one that holds runs")
    folder = parser.parse_args().folder
    results = load(folder) if folder.is_dir() else []
    if not results:
        print(f"dsnot_exp: {folder}: holds no {NAME}; give a folder of runs", file=sys.stderr)
        sys.exit(2)
    print(markdown(results))


if __name__ == "__main__":
    main()
