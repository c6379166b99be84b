"""Where the configuration lies: inside an installed package, or beside it in the repository."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

PACKAGE = Path(__file__).resolve().parents[1]


def beside_or_inside(name: str) -> Path:
    """`conf` or `sweeps`: the packaged copy if there is one, else the repository's."""
    packaged = PACKAGE / name
    return packaged if packaged.is_dir() else PACKAGE.parent / name


def sweeps_path() -> str:
    """The folder that holds sweeps/, for Hydra's search path."""
    return f"file://{beside_or_inside('sweeps').parent}"


def cache() -> Path:
    """Where tinyworld's task items are built: DSNOT_EXP_CACHE, or the user's cache."""
    return Path(os.environ.get("DSNOT_EXP_CACHE") or platformdirs.user_cache_dir("dsnot_exp"))
