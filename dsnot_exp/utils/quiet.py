"""Sends the libraries' output to the log file instead of the terminal."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr

import transformers
from huggingface_hub.utils import logging as hub_logging


def quiet_libraries() -> None:
    """Send warnings and log lines to the run's log file; show no progress bars for local files."""
    os.environ.setdefault("WANDB_SILENT", "true")
    os.environ.setdefault("HF_UPDATE_DOWNLOAD_COUNTS", "0")  # else every load contacts another host
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    logging.captureWarnings(True)
    warnings.simplefilter("default")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    hub_logging.set_verbosity_error()


@contextmanager
def quiet_command() -> Iterator[None]:
    """`quiet_libraries` for a command that writes no log file: their warnings go nowhere, and ours
    to stderr."""
    quiet_libraries()
    last = logging.lastResort
    assert last is not None
    handlers = [
        (logging.getLogger(), logging.NullHandler()),
        (logging.getLogger("dsnot_exp"), last),
    ]
    for logger, handler in handlers:
        logger.addHandler(handler)
    try:
        yield
    finally:
        for logger, handler in handlers:
            logger.removeHandler(handler)


@contextmanager
def silent_stderr() -> Iterator[None]:
    """Discard stderr while lm-eval runs: not all of its progress bars can be turned off, and its
    git subprocess prints an error outside a repository. The subprocess writes to the file
    descriptor, so redirecting `sys.stderr` is not enough."""
    sys.stderr.flush()
    saved = os.dup(2)
    try:
        with open(os.devnull, "w") as nowhere, redirect_stderr(nowhere):
            os.dup2(nowhere.fileno(), 2)
            yield
    finally:
        sys.stderr.flush()
        os.dup2(saved, 2)
        os.close(saved)
