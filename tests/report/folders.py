"""Result files as a run leaves them, with the values that a test asks for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

REFINED = {
    "max_cycles": 50, "update_threshold": 0.1, "variance_power": 1.0, "grow": "mean_over_var",
    "prune": "signed_wanda",
}  # fmt: skip


def result(
    model: str = "llama2-7b",
    method: str = "wanda+dsnot",
    perplexity: Mapping[str, Any] | float | None = None,
    dataset: str = "wikitext2",
    **options: Any,
) -> dict[str, Any]:
    """`perplexity`: of the refined model, or by stage. Other options by their dotted names."""
    prune, _, refine = method.partition("+")
    seqlen = options.pop("eval.seqlen", 2048)
    tree: dict[str, Any] = {
        "model": {"name": model, "path": None},
        "prune": {"name": prune},
        "refine": {"name": refine, **REFINED} if refine else {"name": "none"},
        "calib": {"dataset": "c4", "samples": 128, "seqlen": seqlen},
        "eval": {"perplexity": [dataset], "seqlen": seqlen, "tasks": []},
        "sparsity": 0.6,
        "pattern": "unstructured",
        "seed": 0,
        "sweep": "runs",
    }
    parts = {k: options.pop(k) for k in ("zero_shot", "reconstruction") if k in options}
    kept = ("status", "timing_s", "memory", "command", "resumed")
    top = {k: options.pop(k) for k in kept if k in options}
    environment = {"git": "a" * 40, "device": "cuda:0 (A)", "threads": 8, "torch": "2.13.0"}
    environment |= {k: options.pop(k) for k in tuple(environment) if k in options}
    for name, value in options.items():
        *groups, key = name.split(".")
        node = tree
        for group in groups:
            node = node.setdefault(group, {})
        node[key] = value
    stages = perplexity if isinstance(perplexity, Mapping) else {"refined": perplexity}
    return {
        "schema": 1,
        "status": "finished",
        "config": tree,
        "command": f"python -m dsnot_exp model={model}",
        "sparsity": {"target": tree["sparsity"], "achieved": tree["sparsity"]},
        "metrics": {
            "perplexity": {dataset: dict(stages)} if perplexity is not None else {},
            "zero_shot": {},
            "reconstruction": [],
            **parts,
        },
        "timing_s": {},
        "memory": {},
        "environment": environment,
        **top,
    }


def fill(folder: Path, *results: dict[str, Any] | str) -> Path:
    """A folder per result; a text is written as it is."""
    for number, content in enumerate(results):
        place = folder / f"run-{number:02}"
        place.mkdir(parents=True)
        text = content if isinstance(content, str) else json.dumps(content)
        (place / "result.json").write_text(text)
    return folder


@dataclass(frozen=True)
class Report:
    """What one call of the report printed and left."""

    code: int
    out: str
    err: str
    folder: Path

    def text(self, name: str) -> str:
        return (self.folder / name).read_text()

    def csv(self, name: str = "table.csv") -> pd.DataFrame:
        """Every cell as text, by the labels of its row."""
        frame = pd.read_csv(self.folder / name, comment="#", dtype=str, keep_default_na=False)
        return frame.set_index(frame.columns[0])

    def rows(self) -> list[list[str]]:
        """The cells of the first Markdown table, its head first."""
        lines = [line for line in self.out.splitlines() if line.startswith("| ")]
        cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
        return [row for row in cells if not row[0].startswith("---") and len(row) == len(cells[0])]
