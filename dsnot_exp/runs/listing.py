"""Print runs as a table; on a narrow terminal, as a few lines for each."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Sequence
from typing import Any

from dsnot_exp.config import WITHOUT_EFFECT
from dsnot_exp.runs.columns import Column, Row
from dsnot_exp.runs.find import FINISHED, Found
from dsnot_exp.runs.measured import mixed
from dsnot_exp.runs.sheet import Sheet
from dsnot_exp.utils.wanted import shown

LIFTED = {"model", "method", "config.sparsity", "state"}  # printed once if all runs agree
MOST_NAMED = 6


def print_runs(found: Sequence[Found], rows: Sequence[Row], columns: Sequence[Column]) -> None:
    """The table, what all runs have in common, and what else they differ in."""
    cells = [[column.text(f, r) for column in columns] for f, r in zip(found, rows, strict=True)]
    seen = [i for i in range(len(columns)) if any(line[i] for line in cells)]
    common = {
        " ".join(columns[i].title): cells[0][i]
        for i in seen
        if len(cells) > 1 and columns[i].key in LIFTED and len({line[i] for line in cells}) == 1
    }
    kept = [i for i in seen if " ".join(columns[i].title) not in common]
    if common:
        print("all: " + ", ".join(f"{title} {value}" for title, value in common.items()))
    head = ["\n".join(columns[i].title) for i in kept]
    sides = "".join("r" if columns[i].figures else "l" for i in kept)
    Sheet().table(head, [[line[i] for i in kept] for line in cells], sides)
    for one in found:
        if one.why:
            print(f"{one.state:10} {one.name}: {one.why}")
    for line in mixed([one.run.result for one in found if one.run is not None]):
        print(line)
    if more := differing(rows, {column.key for column in columns}):
        named = ",".join(more[:MOST_NAMED])
        rest = f" and {len(more) - MOST_NAMED} more" if len(more) > MOST_NAMED else ""
        print(f"these runs also differ in {named}{rest} (--columns shows them)")


def differing(rows: Sequence[Row], shown_keys: set[str]) -> list[str]:
    """Options that the runs do not share and no column shows, without those that have no effect."""
    rows = [row for row in rows if row["state"] == FINISHED]
    quiet = {f"config.{name}" for name in WITHOUT_EFFECT}
    names = ("config.prune.", "config.refine.", "config.allocate.", "config.reconstruct.")
    keys = dict.fromkeys(key for row in rows for key in row if key.startswith("config."))
    found = []
    for key in keys:
        if key in shown_keys or key in quiet or key.startswith("config.wandb."):
            continue
        if key.endswith(".name") and key.startswith(("config.model.", *names)):
            continue  # in the columns `model` and `method`
        values = [shown(row[key]) for row in rows if key in row]  # a method may lack the option
        if len({*values}) > 1 and key not in ("config.pattern", "config.model.path"):
            found.append(key.removeprefix("config."))
    return found


def print_json(rows: Sequence[Row], keys: Sequence[str] | None) -> None:
    """A list with an object per run: all its fields, or those of `keys`."""
    chosen = [row if keys is None else {key: row.get(key) for key in keys} for row in rows]
    print(json.dumps(chosen, indent=1, allow_nan=False))


def print_csv(rows: Sequence[Row], keys: Sequence[str] | None) -> None:
    """A line per run: all fields, or those of `keys`. A list is joined by commas."""
    names = list(keys or dict.fromkeys(key for row in rows for key in row))
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(names)
    for row in rows:
        writer.writerow([_plain(row.get(name)) for name in names])


def _plain(value: Any) -> Any:
    return ",".join(map(str, value)) if isinstance(value, list) else value
