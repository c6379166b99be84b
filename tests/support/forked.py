"""Commands in forks of one process, which has imported and computed what any command does once.

warm()
if os.fork() == 0:
    run_command(["prune=wanda"])
"""

from __future__ import annotations

import atexit
import gc
import io
import os
import runpy
import sys
import threading
from importlib import import_module
from typing import NoReturn

# What a command imports on its way.
LATE = (
    "dsnot_exp.launch.command", "dsnot_exp.run.job", "datasets", "lm_eval.evaluator",
    "lm_eval.models.huggingface", "lm_eval.tasks", "matplotlib.backends.backend_agg", "pandas",
    "pyarrow.parquet", "transformers.models.llama.modeling_llama",
)  # fmt: skip


def warm() -> None:
    """Import the libraries; compile patterns and grammars, and find fonts, as a first run does."""
    for name in LATE:
        import_module(name)
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from transformers.conversion_mapping import get_checkpoint_conversion_mapping

    from dsnot_exp.results.error_plot import error_figure
    from dsnot_exp.walk.record import LayerRecord

    get_checkpoint_conversion_mapping("llama")
    OverridesParser.create().parse_overrides(["a=[b,c.d]", "a.b=/c/d-1.e", "a=0.5"])
    records = [LayerRecord(f"layer.{i}", 9, 5, 2.0, 1.0, 0.3, 0.2) for i in range(2)]
    error_figure(records, "fonts", io.BytesIO())  # type: ignore[arg-type]
    gc.collect()
    gc.freeze()  # forks share it all


def run_command(arguments: list[str]) -> NoReturn:
    """`python -m dsnot_exp`; ends this process, a fork. Python's own end would visit, and so copy,
    every object that the forks share, which takes longer than a toy run."""
    sys.argv[1:] = arguments
    code: object = 0
    try:
        runpy.run_module("dsnot_exp", run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        code = ended.code
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))
