"""A command line of this package, around what it does: errors in one line, and the exit code."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import NoReturn

from dsnot_exp.utils.errors import INTERRUPTED, DsnotError
from dsnot_exp.utils.output import open_missing_streams, steady_output


def run_and_exit(command: Callable[[], int], interrupted: str = "interrupted") -> NoReturn:
    """Exit with the code that `command` returns, with that of its error, or with 130.

    interrupted: what Ctrl-C prints
    """
    open_missing_streams()
    with steady_output():
        try:
            code = command()
        except DsnotError as error:
            print(f"dsnot_exp: {error}", file=sys.stderr)
            code = error.exit_code
        except KeyboardInterrupt:
            print(f"dsnot_exp: {interrupted}", file=sys.stderr)
            code = INTERRUPTED
    sys.exit(code)
