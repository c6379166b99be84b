"""Experiments with training-free sparse language models: prune, refine, evaluate, record."""

__version__ = "0.3.0"


def __getattr__(name: str) -> object:
    """`dsnot_exp.runs("outputs")`: the package is imported when it is first asked for."""
    if name == "runs":
        from importlib import import_module

        return import_module("dsnot_exp.runs")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
