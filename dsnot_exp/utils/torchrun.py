"""Which of torchrun's processes this is, from its environment variables: needs no torch."""

from __future__ import annotations

import os


def launched() -> bool:
    """Whether torchrun started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def rank() -> int:
    return int(os.environ.get("RANK", 0)) if launched() else 0


def world_size() -> int:
    """Number of processes that torchrun started; 1 without torchrun."""
    return int(os.environ.get("WORLD_SIZE", 1)) if launched() else 1


def rank_suffix() -> str:
    """Suffix of the log file's name: every process writes its own log."""
    return f".rank{rank()}" if rank() else ""
