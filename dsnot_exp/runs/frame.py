"""All runs below a folder as one table of pandas."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from dsnot_exp.runs.fields import fields
from dsnot_exp.runs.find import find

FIRST = ("folder", "name", "state", "error", "date", "model", "method")


def frame(folder: str | Path = "outputs") -> pd.DataFrame:
    """All runs at or below `folder`, one per row; runs without a result included.

    Columns: `folder`, `name`, `state`, `error`, `date`, `model`, `method`; `config.`, `metrics.`,
    `sparsity.`, `timing_s.` and so on as in result.json, with dots; `accuracy.` and `layers.` are
    means over tasks and layers. A field that a run does not have is missing (NaN, or None).

    Raises FileNotFoundError if there is no such folder.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")
    rows = [fields(found) for found in find(folder)]
    columns = dict.fromkeys([*FIRST, *(key for row in rows for key in row)])
    table = pd.DataFrame(rows, columns=list(columns))
    table["date"] = pd.to_datetime(table["date"])
    return table
