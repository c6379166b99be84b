"""What has been run: list, show, compare and clean.

Called as a function, `dsnot_exp.runs("outputs")`, the package returns a DataFrame: docs/runs.md.
"""

from dsnot_exp.utils.callable_package import make_callable

make_callable(__name__, "dsnot_exp.runs.frame:frame")
