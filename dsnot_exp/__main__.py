"""python -m dsnot_exp: compose the configuration, run, and turn what went wrong into one line."""

from __future__ import annotations

import logging
import os
import re
import shlex
import sys
import traceback
from pathlib import Path
from typing import NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dsnot_exp.config import register_schema, to_config
from dsnot_exp.errors import DsnotError
from dsnot_exp.identity import run_id
from dsnot_exp.paths import beside_or_inside
from dsnot_exp.quiet import quiet_libraries

log = logging.getLogger(__name__)
FULL_ERROR = "HYDRA_FULL_ERROR"
trace_wanted = os.environ.get(FULL_ERROR) == "1"
reported: list[BaseException] = []


def task(composed: DictConfig) -> str | None:
    """One run: what the command line, a sweep and every launcher call."""
    from dsnot_exp.experiment import run_experiment  # torch and transformers import slowly

    quiet_libraries()
    job = HydraConfig.get()
    command = shlex.join(["python", "-m", "dsnot_exp", *job.overrides.task])
    try:
        folder = Path(job.runtime.output_dir)
        return run_experiment(to_config(composed), folder, command)["masks_sha256"]
    except (Exception, KeyboardInterrupt) as error:
        log.exception("the run failed: %s", command)  # Hydra keeps it out of the log file
        code = report(error)
        if job.mode == RunMode.MULTIRUN:
            raise  # Hydra notes it, and the other jobs of the sweep go on
        sys.exit(code)


def main() -> NoReturn:
    """Exit code 0: finished; 1: a run failed; 2: the request makes no sense; 130: interrupted."""
    register_schema()
    OmegaConf.register_new_resolver("run_id", run_id, replace=True)
    OmegaConf.register_new_resolver("sweeps_path", sweeps_path, replace=True)
    os.environ[FULL_ERROR] = "1"  # Hydra raises instead of printing; `report` prints
    conf = str(beside_or_inside("conf"))
    try:
        hydra.main(version_base="1.3", config_path=conf, config_name="config")(task)()
    except (Exception, KeyboardInterrupt) as error:
        known = error in reported  # by a job of a sweep
        sys.exit(report(error) if not known else 130 if isinstance(error, KeyboardInterrupt) else 1)
    finally:
        if not trace_wanted:
            del os.environ[FULL_ERROR]
    sys.exit(0)


def report(error: BaseException) -> int:
    """Print what went wrong in one line; returns the exit code."""
    if isinstance(error, KeyboardInterrupt):
        line, code = "interrupted; what had finished is kept", 130
    elif isinstance(error, DsnotError):
        line, code = str(error), error.exit_code
    elif isinstance(error, HydraException | OmegaConfBaseException):
        line, code = _composition(str(error)), 2
    elif isinstance(cause := error.__cause__ or error, OSError) and "hydra" in _origin(error):
        line, code = f"hydra.run.dir={cause.filename}: cannot be written ({cause.strerror})", 2
    else:
        line, code = f"{type(error).__name__}: {error}", 1
    if trace_wanted:
        traceback.print_exception(error)
    print(f"dsnot_exp: {' '.join(line.split())}", file=sys.stderr)
    reported.append(error)
    return code


def _composition(message: str) -> str:
    """Hydra's words without its advice to append what is not an option."""
    message = message.split("Config search path")[0]
    unknown = re.match(r"Could not override '(\S+)'\.\s+To append to your config", message)
    if unknown is None:
        return message
    return f"{unknown[1]}: no such option here; `python -m dsnot_exp --cfg job` lists them all"


def sweeps_path() -> str:
    """The folder that holds sweeps/, for Hydra's search path."""
    return f"file://{beside_or_inside('sweeps').parent}"


def _origin(error: BaseException) -> str:
    """The modules that an error went through: was it Hydra, making the output folder?"""
    frames = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    ours = any("experiment.py" in name for name in frames)
    return "" if ours else " ".join(frames)


if __name__ == "__main__":
    main()
