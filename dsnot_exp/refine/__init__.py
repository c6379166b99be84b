"""Mask refiners, by name: one file per method."""

from dsnot_exp.refine.base import Refined, Refiner, expected_error
from dsnot_exp.refine.dsnot import DSnoT

# `dsnot_official` is DSnoT with the released defaults: conf/refine/dsnot_official.yaml.
REFINERS: dict[str, type] = {"dsnot": DSnoT, "dsnot_official": DSnoT}

__all__ = ["REFINERS", "DSnoT", "Refined", "Refiner", "expected_error"]
