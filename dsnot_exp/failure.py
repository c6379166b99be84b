"""What went wrong, in one line and an exit code."""

from __future__ import annotations

import os
import re
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from dsnot_exp.errors import DsnotError
from dsnot_exp.share import missing_plugin

FULL_ERROR = "HYDRA_FULL_ERROR"
INTERRUPTED = 130
TRACE = "DSNOT_EXP_TRACE"  # the user's HYDRA_FULL_ERROR, for the processes that a launcher starts
trace_wanted = os.environ.get(TRACE, os.environ.get(FULL_ERROR)) == "1"
NOTE = "error.txt"  # in a run's folder, until it succeeds


def code_of(runs: Callable[[], object]) -> int:
    """The exit code that `runs()` comes to; what it raises is reported."""
    try:
        runs()
    except (Exception, KeyboardInterrupt) as error:
        return report(error)
    return 0


def report(error: BaseException, folder: Path | None = None) -> int:
    """Print what went wrong in one line, and note it in a run's folder; returns the exit code."""
    line, code = describe(error)
    if trace_wanted:
        traceback.print_exception(error)
    print(f"dsnot_exp: {line}", file=sys.stderr)
    if folder is not None:
        with suppress(OSError):
            (folder / NOTE).write_text(f"{line}\n", "utf-8")
    return code


def noted(folder: Path) -> str:
    """What went wrong in a run, where it could say so."""
    try:
        return (folder / NOTE).read_text("utf-8").strip()
    except OSError:
        return "it left no word: killed, or never started"


def describe(error: BaseException) -> tuple[str, int]:
    """One line, and the exit code."""
    if isinstance(error, KeyboardInterrupt):
        line, code = "interrupted; what had finished is kept", INTERRUPTED
    elif isinstance(error, DsnotError):
        line, code = str(error), error.exit_code
    elif isinstance(error, HydraException | OmegaConfBaseException):
        line, code = _composition(str(error)), 2
    elif isinstance(cause := error.__cause__ or error, OSError) and "hydra" in _origin(error):
        line, code = f"hydra.run.dir={cause.filename}: cannot be written ({cause.strerror})", 2
    else:
        line, code = f"{type(error).__name__}: {error}", 1
    return " ".join(line.split()), code


def _composition(message: str) -> str:
    """Hydra's words without its advice to append what is not an option."""
    message = message.split("Config search path")[0]
    if (line := missing_plugin(message)) is not None:
        return line
    unknown = re.match(r"Could not override '(\S+)'\.\s+To append to your config", message)
    if unknown is None:
        return message
    return f"{unknown[1]}: no such option here; `python -m dsnot_exp --cfg job` lists them all"


def _origin(error: BaseException) -> str:
    """The modules that an error went through: was it Hydra, making the output folder?"""
    frames = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    ours = any("runner.py" in name for name in frames)
    return "" if ours else " ".join(frames)
