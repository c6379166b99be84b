"""A table as CSV, with the methods' option names and values at full precision."""

from __future__ import annotations

from typing import Any

import pandas as pd

from dsnot_exp.report.output.legend import PUBLISHED, legend
from dsnot_exp.report.output.markdown import one_line
from dsnot_exp.report.tables.table import Table


def csv(table: Table) -> str:
    """A column for each kind of number in the table, such as `50 % std`."""
    columns: dict[str, list[Any]] = {}
    for place, head in enumerate(table.heads):
        columns[head] = [labels[place] for labels in table.labels]
    for place, name in enumerate(table.full_names):
        cells = [row[place] for row in table.cells]
        columns[name] = [c.words if c.value is None else repr(c.value) for c in cells]
        more: dict[str, list[Any]] = {
            "published": [c.published.text if c.published else None for c in cells],
            "difference": [c.difference for c in cells],
            "change": [c.change for c in cells],
            "versus": [c.versus for c in cells],
            "delta": [c.delta for c in cells],
            "std": [c.spread if c.n > 1 else None for c in cells],
            "n": [c.n if c.n > 1 else None for c in cells],
            "stderr": [c.spread if c.n == 1 else None for c in cells],
        }
        for kind, values in more.items():
            if any(value is not None for value in values):
                columns[f"{name} {kind}"] = ["" if v is None else str(v) for v in values]
    text = pd.DataFrame(columns).to_csv(index=False, lineterminator="\n")
    notes = [table.caption, *([PUBLISHED] if table.sources else []), *legend(table)]
    if any(cell.versus is not None for row in table.cells for cell in row):
        notes.append(f"versus: ours minus {table.baseline or 'the initializer alone'}.")
    return text + "".join(f"# {one_line(line)}\n" for line in notes)
