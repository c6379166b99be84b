"""Libraries talk to the log file, not to the terminal."""

from __future__ import annotations

import logging
import os
import warnings


def quiet_libraries() -> None:
    """Progress bars off, warnings and log lines to the run's log file."""
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("WANDB_SILENT", "true")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    logging.captureWarnings(True)
    warnings.simplefilter("default")
    import transformers
    from huggingface_hub.utils import logging as hub_logging

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    hub_logging.set_verbosity_error()
