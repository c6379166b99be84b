"""Updates of the kept weights under a fixed mask, by name: one file per method."""

from dsnot_exp.reconstruct.none import Keep

RECONSTRUCTORS: dict[str, type] = {"none": Keep}

__all__ = ["RECONSTRUCTORS", "Keep"]
