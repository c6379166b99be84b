"""Turns an exception into one line for the user and an exit code."""

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

from dsnot_exp.launch.hydra_setup import missing_plugin
from dsnot_exp.results.file import NOTE
from dsnot_exp.utils.errors import DsnotError

FULL_ERROR = "HYDRA_FULL_ERROR"
INTERRUPTED = 130
TRACE = "DSNOT_EXP_TRACE"  # passes the user's HYDRA_FULL_ERROR to the launchers' processes
trace_wanted = os.environ.get(TRACE, os.environ.get(FULL_ERROR)) == "1"


def code_of(runs: Callable[[], object]) -> int:
    """Call `runs()`, report its exception if any, and return the exit code."""
    try:
        runs()
    except (Exception, KeyboardInterrupt) as error:
        return report(error, from_hydra=True)  # a run reports its own errors
    return 0


def report(error: BaseException, folder: Path | None = None, from_hydra: bool = False) -> int:
    """Print `error` in one line, write it to the run's `folder`, and return the exit code."""
    line, code = describe(error, from_hydra)
    if trace_wanted:
        traceback.print_exception(error)
    print(f"dsnot_exp: {line}", file=sys.stderr)
    if folder is not None:
        with suppress(OSError):
            (folder / NOTE).write_text(f"{line}\n", "utf-8")
    return code


def describe(error: BaseException, from_hydra: bool = False) -> tuple[str, int]:
    """One line about `error`, and the exit code.

    from_hydra: raised outside a run, where an OSError comes from Hydra creating the output folder
    """
    if isinstance(error, KeyboardInterrupt):
        line, code = "interrupted; finished work is kept", INTERRUPTED
    elif isinstance(error, DsnotError):
        line, code = str(error), error.exit_code
    elif isinstance(error, HydraException | OmegaConfBaseException):
        line, code = _hydra_error(str(error)), 2
    elif isinstance(cause := error.__cause__ or error, OSError) and from_hydra:
        line = (
            f"hydra.run.dir={cause.filename}: cannot be written ({cause.strerror}); "
            "choose another folder"
        )
        code = 2
    else:
        line, code = f"{type(error).__name__}: {error}", 1
    return " ".join(line.split()), code


def _hydra_error(message: str) -> str:
    """Hydra's message without its advice to append an unknown key with `+`."""
    message = message.split("Config search path")[0]
    if (line := missing_plugin(message)) is not None:
        return line
    unknown = re.match(r"Could not override '(\S+)'\.\s+To append to your config", message)
    if unknown is None:
        return message
    return f"{unknown[1]}: no such option; `python -m dsnot_exp --cfg job` lists all options"
