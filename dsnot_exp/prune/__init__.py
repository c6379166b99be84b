"""Initial masks, by name: one file per method."""

from dsnot_exp.prune.base import Initial, Pruner
from dsnot_exp.prune.magnitude import Magnitude
from dsnot_exp.prune.sparsegpt import SparseGPT
from dsnot_exp.prune.wanda import Wanda

PRUNERS: dict[str, type] = {"magnitude": Magnitude, "wanda": Wanda, "sparsegpt": SparseGPT}

__all__ = ["PRUNERS", "Initial", "Magnitude", "Pruner", "SparseGPT", "Wanda"]
