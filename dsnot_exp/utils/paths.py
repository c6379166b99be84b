"""Finds conf/ and sweeps/ (inside an installed package, or in the repository) and the cache."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

PACKAGE = Path(__file__).resolve().parents[1]


def beside_or_inside(name: str) -> Path:
    """The folder `conf` or `sweeps`: the installed copy if there is one, else the repository's."""
    packaged = PACKAGE / name
    return packaged if packaged.is_dir() else PACKAGE.parent / name


def sweeps_path() -> str:
    """URL of the folder that contains sweeps/, for Hydra's search path."""
    return f"file://{beside_or_inside('sweeps').parent}"


def cache() -> Path:
    """The folder for sampled tokens, compiled C code, task items and indices, and smollm2-q4:
    DSNOT_EXP_CACHE, default: the user cache directory."""
    return Path(os.environ.get("DSNOT_EXP_CACHE") or platformdirs.user_cache_dir("dsnot_exp"))
