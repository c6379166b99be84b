"""Turns an exception into one line for the user and an exit code."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from dsnot_exp.launch.hydra_error import explain, own_error
from dsnot_exp.methods.plugins import known
from dsnot_exp.results.file import NOTE
from dsnot_exp.utils.errors import INTERRUPTED, RequestError
from dsnot_exp.utils.torchrun import rank

FULL_ERROR = "HYDRA_FULL_ERROR"
TRACE = "DSNOT_EXP_TRACE"  # passes the user's HYDRA_FULL_ERROR to the launchers' processes
trace_wanted = os.environ.get(TRACE, os.environ.get(FULL_ERROR)) == "1"


def code_of(runs: Callable[[], object]) -> int:
    """Call `runs()`, report its exception if any, and return the exit code."""
    try:
        runs()
    except (Exception, KeyboardInterrupt) as error:
        code = describe(error, from_hydra=True)[1]
        if rank() > 0 and code == RequestError.exit_code:  # the first process reports it
            return code
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
    elif (own := own_error(error)) is not None:
        line, code = str(own), own.exit_code
    elif isinstance(error, HydraException | OmegaConfBaseException):
        line, code = explain(error), 2
    elif isinstance(cause := error.__cause__ or error, OSError) and from_hydra:
        line = (
            f"hydra.run.dir={cause.filename}: cannot be written ({cause.strerror}); "
            "choose another folder"
        )
        code = 2
    elif from_hydra and isinstance(error, ValueError):  # Hydra's answer to a flag
        line, code = str(error), 2
    else:
        place = known.place_of(error)  # a mistake in a plug-in is easier to find by its line
        line, code = f"{place + ': ' if place else ''}{type(error).__name__}: {error}", 1
    return " ".join(line.split()), code
