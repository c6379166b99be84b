"""Experiments with training-free sparse language models: prune, refine, evaluate, record."""

__version__ = "0.3.0"
