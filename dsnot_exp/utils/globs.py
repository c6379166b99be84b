"""Globs of layer names."""

from __future__ import annotations

from fnmatch import fnmatch


def matches(name: str, pattern: str) -> bool:
    """Whether a glob matches a name inside a block. `mlp` also matches `mlp.up_proj`; `mlp|fc1`
    matches either."""
    return any(fnmatch(name, p) or fnmatch(name, f"{p}.*") for p in pattern.split("|"))
