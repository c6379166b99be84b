"""Experiments with training-free sparse language models: prune, refine, evaluate, record.

    import dsnot_exp

    sparse = dsnot_exp.prune(model, tokenizer, prune="wanda", sparsity=0.6, calibration="c4")
    dsnot_exp.evaluate(sparse.model, tokenizer, perplexity=["wikitext2"])

docs/python.md describes the functions. Importing the package loads none of them, and no library.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from dsnot_exp.methods import CLASSES

if TYPE_CHECKING:
    from dsnot_exp.api.load import load_run as load_run
    from dsnot_exp.api.prune import prune as prune
    from dsnot_exp.export.load import load_packed as load_packed
    from dsnot_exp.models.semi_structured import semi_structured as semi_structured

__version__ = "0.3.0"

FUNCTIONS = {
    "prune": "dsnot_exp.api.prune:prune",
    "load_run": "dsnot_exp.api.load:load_run",
    "load_packed": "dsnot_exp.export.load:load_packed",
    "semi_structured": "dsnot_exp.models.semi_structured:semi_structured",
}
PACKAGES = ("evaluate", "methods", "runs")  # evaluate and runs can be called, too
ERRORS = {
    "ArgumentError": "dsnot_exp.api.arguments:ArgumentError",
    "RunError": "dsnot_exp.utils.errors:RunError",
}
__all__ = ["__version__", *FUNCTIONS, *PACKAGES, *ERRORS, *CLASSES]


def __getattr__(name: str) -> Any:
    """Import what is asked for, and keep it."""
    if name in PACKAGES:
        return import_module(f"{__name__}.{name}")
    place = FUNCTIONS.get(name) or ERRORS.get(name)
    if place is not None:
        globals()[name] = found = resolve_name(place)
        return found
    if name in CLASSES:
        return getattr(import_module(f"{__name__}.methods"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
