"""Libraries talk to the log file, not to the terminal."""

from __future__ import annotations

import io
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr

import transformers
from huggingface_hub.utils import logging as hub_logging


def quiet_libraries() -> None:
    """Warnings and log lines to the run's log file; no bars for reading local files."""
    os.environ.setdefault("WANDB_SILENT", "true")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    logging.captureWarnings(True)
    warnings.simplefilter("default")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    hub_logging.set_verbosity_error()


@contextmanager
def without_progress_bars() -> Iterator[None]:
    """tqdm writes to stderr, and not every library lets it be turned off."""
    with redirect_stderr(io.StringIO()):
        yield
