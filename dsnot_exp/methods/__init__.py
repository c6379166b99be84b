"""The algorithms, pure: tensors in, tensors out. No model, no configuration, no I/O.

The class of each method is here by its name: `from dsnot_exp.methods import Wanda, DSnoT`. It is
imported when it is asked for, because it needs torch.
"""

from __future__ import annotations

from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dsnot_exp.methods.allocate.alpha import Alpha as Alpha
    from dsnot_exp.methods.allocate.file import FromFile as FromFile
    from dsnot_exp.methods.allocate.fisher import Fisher as Fisher
    from dsnot_exp.methods.allocate.linear import Linear as Linear
    from dsnot_exp.methods.allocate.owl import OWL as OWL
    from dsnot_exp.methods.allocate.search import Search as Search
    from dsnot_exp.methods.allocate.uniform import Uniform as Uniform
    from dsnot_exp.methods.prune.alps import ALPS as ALPS
    from dsnot_exp.methods.prune.magnitude import Magnitude as Magnitude
    from dsnot_exp.methods.prune.ria import RIA as RIA
    from dsnot_exp.methods.prune.sparsegpt import SparseGPT as SparseGPT
    from dsnot_exp.methods.prune.wanda import Wanda as Wanda
    from dsnot_exp.methods.reconstruct.admm import ADMM as ADMM
    from dsnot_exp.methods.reconstruct.block import Block as Block
    from dsnot_exp.methods.reconstruct.cg import ConjugateGradients as ConjugateGradients
    from dsnot_exp.methods.reconstruct.lstsq import LeastSquares as LeastSquares
    from dsnot_exp.methods.refine.dsnot.method import DSnoT as DSnoT
    from dsnot_exp.methods.refine.moments import Moments as Moments
    from dsnot_exp.methods.refine.swaps import Swaps as Swaps

# Kept equal to the registry by a test; the registry itself is not needed to know the names.
CLASSES = {
    "ADMM": "reconstruct.admm",
    "ALPS": "prune.alps",
    "Alpha": "allocate.alpha",
    "Block": "reconstruct.block",
    "ConjugateGradients": "reconstruct.cg",
    "DSnoT": "refine.dsnot.method",
    "Fisher": "allocate.fisher",
    "FromFile": "allocate.file",
    "LeastSquares": "reconstruct.lstsq",
    "Linear": "allocate.linear",
    "Magnitude": "prune.magnitude",
    "Moments": "refine.moments",
    "OWL": "allocate.owl",
    "RIA": "prune.ria",
    "Search": "allocate.search",
    "SparseGPT": "prune.sparsegpt",
    "Swaps": "refine.swaps",
    "Uniform": "allocate.uniform",
    "Wanda": "prune.wanda",
}


def __getattr__(name: str) -> Any:
    if name in CLASSES:
        globals()[name] = found = resolve_name(f"{__name__}.{CLASSES[name]}:{name}")
        return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *CLASSES})
