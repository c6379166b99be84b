"""python -m dsnot_exp: compose the configuration, run, and turn what went wrong into one line."""

from __future__ import annotations

import logging
import os
import shlex
import sys
from pathlib import Path
from typing import NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dsnot_exp.config import register_schema, to_config
from dsnot_exp.errors import DsnotError
from dsnot_exp.identity import run_id
from dsnot_exp.paths import beside_or_inside
from dsnot_exp.quiet import quiet_libraries

log = logging.getLogger(__name__)


def task(composed: DictConfig) -> str | None:
    """One run: what the command line, a sweep and every launcher call."""
    from dsnot_exp.experiment import run_experiment  # torch and transformers import slowly

    quiet_libraries()
    command = shlex.join(["python", "-m", "dsnot_exp", *HydraConfig.get().overrides.task])
    folder = Path(HydraConfig.get().runtime.output_dir)
    try:
        return run_experiment(to_config(composed), folder, command)["masks_sha256"]
    except BaseException:
        log.exception("the run failed: %s", command)  # Hydra keeps it out of the log file
        raise


def main() -> NoReturn:
    """Exit code 0: finished; 1: a run failed; 2: the request makes no sense; 130: interrupted."""
    register_schema()
    OmegaConf.register_new_resolver("run_id", run_id, replace=True)
    OmegaConf.register_new_resolver(
        "sweeps_path", lambda: f"file://{beside_or_inside('sweeps').parent}", replace=True
    )
    trace = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # let Hydra raise; the user's wish is honoured below
    entry = hydra.main(
        version_base="1.3", config_path=str(beside_or_inside("conf")), config_name="config"
    )(task)
    try:
        entry()
    except (Exception, KeyboardInterrupt) as error:
        if trace:
            raise
        sys.exit(report(error))
    sys.exit(0)


def report(error: BaseException) -> int:
    """Print what went wrong in one line; returns the exit code."""
    if isinstance(error, KeyboardInterrupt):
        line, code = "interrupted; what had finished is kept", 130
    elif isinstance(error, DsnotError):
        line, code = str(error), error.exit_code
    elif isinstance(error, HydraException | OmegaConfBaseException):
        line, code = " ".join(str(error).split()), 2
    else:
        line, code = f"{type(error).__name__}: {' '.join(str(error).split())}", 1
    print(f"dsnot_exp: {line}", file=sys.stderr)
    return code


if __name__ == "__main__":
    main()
