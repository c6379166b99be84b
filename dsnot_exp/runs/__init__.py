"""What has been run: list, show, compare and clean. `dsnot_exp.runs("outputs")` is a DataFrame."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


class _Callable(ModuleType):
    """`dsnot_exp.runs` names this package and a function of the API. Python lets a module have a
    class of its own, and the class of a callable has `__call__`: so the name can be both, whichever
    is imported first."""

    def __call__(self, folder: str | Path = "outputs") -> pd.DataFrame:
        """All runs at or below `folder`, one per row; runs without a result included.

        Columns: `folder`, `name`, `state`, `error`, `date`, `model`, `method`; `config.`,
        `metrics.`, `sparsity.`, `timing_s.` and so on as in result.json, with dots; `accuracy.` and
        `layers.` are means over tasks and layers. A field that a run does not have is missing (NaN,
        or None).

        Raises FileNotFoundError if there is no such folder.
        """
        from dsnot_exp.runs.frame import frame

        return frame(Path(folder))


sys.modules[__name__].__class__ = _Callable
