"""python -m dsnot_exp: compose the configuration, run, and report an error in one line."""

from __future__ import annotations

import logging
import os
import shlex
import sys
from pathlib import Path
from typing import NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from dsnot_exp.config import register_schema, to_config
from dsnot_exp.launch import failure
from dsnot_exp.launch.hydra_setup import register
from dsnot_exp.launch.machine import take_share
from dsnot_exp.utils.distributed import current, join, leave
from dsnot_exp.utils.errors import RequestError
from dsnot_exp.utils.paths import beside_or_inside
from dsnot_exp.utils.quiet import quiet_libraries

log = logging.getLogger(__name__)
register()


def task(composed: DictConfig) -> str | None:
    """Do one run; the command line, sweeps and launchers all call this."""
    from dsnot_exp.run.job import run_experiment  # slow import: torch, transformers

    quiet_libraries()
    take_share()
    job = HydraConfig.get()
    sweeps = job.mode == RunMode.MULTIRUN
    folder = Path(job.runtime.output_dir)
    command = shlex.join(["python", "-m", "dsnot_exp", *job.overrides.task])
    try:
        join()
        result = run_experiment(to_config(composed), folder, command, wait=not sweeps)
        return result["masks_sha256"] if result is not None else None
    except (Exception, KeyboardInterrupt) as error:
        log.exception("the run failed: %s", command)  # Hydra does not log it
        refused = isinstance(error, RequestError)
        reported = refused and current().rank > 0  # by the first process
        if not sweeps or (current().size > 1 and not refused):  # else the other ranks would hang
            sys.exit(RequestError.exit_code if reported else failure.report(error))
        if isinstance(error, KeyboardInterrupt):
            raise
        if not reported:
            failure.report(error, folder)
        return None  # the sweep continues and lists failed jobs at its end


def main() -> NoReturn:
    """Exit code 0: finished; 1: a run failed; 2: invalid request; 130: interrupted."""
    register_schema()
    os.environ[failure.TRACE] = "1" if failure.trace_wanted else "0"
    os.environ[failure.FULL_ERROR] = "1"  # Hydra raises instead of printing; we print
    conf = str(beside_or_inside("conf"))
    runs = hydra.main(version_base="1.3", config_path=conf, config_name="config")(task)
    try:
        code = failure.code_of(runs)
        if "dsnot_exp.launch.sweep" in sys.modules:  # Hydra loads it for a sweep
            from dsnot_exp.launch.sweep import complete

            code = complete(code, lambda: failure.code_of(runs))
    finally:
        leave()
        del os.environ[failure.TRACE]
        if not failure.trace_wanted:
            del os.environ[failure.FULL_ERROR]
    sys.exit(code)


if __name__ == "__main__":
    from dsnot_exp import __main__ as importable  # launchers pickle `task` by its module's name

    importable.main()
