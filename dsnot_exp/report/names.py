"""The names of methods as printed in tables and plots."""

from __future__ import annotations

NAMES = {
    "dense": "Dense", "magnitude": "Magnitude", "wanda": "Wanda", "sparsegpt": "SparseGPT",
    "dsnot": "DSnoT", "dsnot_official": "DSnoT (released)", "lora": "LoRA", "owl": "OWL",
    "ria": "RIA", "alps": "ALPS", "moments": "moments", "swaps": "swaps", "cg": "CG",
    "admm": "ADMM", "lstsq": "least squares", "block": "block", "fisher": "fisher",
    "alpha": "AlphaPruning", "linear": "linear", "search": "search", "file": "file",
}  # fmt: skip


def pretty(method: str) -> str:
    """Format `wanda+dsnot, 50 cycles` as in the papers: `Wanda + DSnoT, 50 cycles`. Leave other
    labels unchanged."""
    methods, comma, more = method.partition(",")
    parts = methods.split("+")
    known = all(part in NAMES for part in parts)
    return " + ".join(NAMES[part] for part in parts) + comma + more if known else method
