"""Libraries talk to the log file, not to the terminal."""

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
    """Warnings and log lines to the run's log file; no bars for reading local files."""
    os.environ.setdefault("WANDB_SILENT", "true")
    os.environ.setdefault("HF_UPDATE_DOWNLOAD_COUNTS", "0")  # else every load asks another host
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    logging.captureWarnings(True)
    warnings.simplefilter("default")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    hub_logging.set_verbosity_error()


@contextmanager
def silent_stderr() -> Iterator[None]:
    """For lm-eval: its progress bars cannot all be turned off, and it asks git in a subprocess,
    which complains outside a repository. So the file descriptor too, not just `sys.stderr`."""
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
