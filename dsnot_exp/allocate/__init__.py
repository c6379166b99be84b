"""How much of each layer is pruned, by name: one file per method."""

from dsnot_exp.allocate.uniform import Uniform

ALLOCATORS: dict[str, type] = {"uniform": Uniform}

__all__ = ["ALLOCATORS", "Uniform"]
