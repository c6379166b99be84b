"""python -m dsnot_exp: compose the configuration, run, and report an error in one line.

Imports nothing but the standard library before `main`, so that Ctrl-C during a later import prints
one line, too.
"""

from __future__ import annotations

import sys
from typing import NoReturn


def main() -> NoReturn:
    """Exit code 0: finished; 1: a run failed; 2: invalid request; 130: interrupted."""
    try:
        from dsnot_exp.utils.output import open_missing_streams, steady_output

        open_missing_streams()
        with steady_output():
            from dsnot_exp.launch.command import run_command

            code = run_command()
    except KeyboardInterrupt:  # while something is imported
        print("dsnot_exp: interrupted; finished work is kept", file=sys.stderr)
        code = 130
    sys.exit(code)


if __name__ == "__main__":
    main()
