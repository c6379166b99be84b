"""The names of methods as printed in tables and plots."""

from __future__ import annotations

import re

NAMES = {
    "dense": "Dense", "magnitude": "Magnitude", "wanda": "Wanda", "sparsegpt": "SparseGPT",
    "dsnot": "DSnoT", "dsnot_official": "DSnoT (released)", "lora": "LoRA", "owl": "OWL",
    "ria": "RIA", "alps": "ALPS",
}  # fmt: skip


def pretty(method: str) -> str:
    """Format `wanda+dsnot` as in the papers; leave other labels unchanged."""
    cycles = re.fullmatch(r"(\S+)(, auto|, \S+ cycles)", method)
    if cycles is not None:
        return pretty(cycles[1]) + cycles[2]
    parts = method.split("+")
    known = all(part in NAMES for part in parts)
    return " + ".join(NAMES[part] for part in parts) if known else method
