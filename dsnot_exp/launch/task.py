"""One run, as the command line, sweeps and launchers call it. A launcher's process imports this
module only, so it registers what composing a configuration needs."""

from __future__ import annotations

import logging
import shlex
import sys
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from dsnot_exp.config import to_config
from dsnot_exp.launch import failure, leftovers
from dsnot_exp.launch.hydra_setup import register
from dsnot_exp.models.smollm2_folder import refuse_absent
from dsnot_exp.results.file import written_at
from dsnot_exp.run.settle import settle
from dsnot_exp.utils.errors import RequestError
from dsnot_exp.utils.output import steady_output
from dsnot_exp.utils.torchrun import rank, world_size

log = logging.getLogger(__name__)
register()


def task(composed: DictConfig) -> str | None:
    """Do one run; returns the hash of its masks."""
    job = HydraConfig.get()
    sweeps = job.mode == RunMode.MULTIRUN
    folder = Path(job.runtime.output_dir)
    command = shlex.join(["python", "-m", "dsnot_exp", *job.overrides.task])
    new = leftovers.is_new(folder)
    with steady_output():
        try:
            return _run(composed, folder, command, sweeps)
        except (Exception, KeyboardInterrupt) as error:
            refused = isinstance(error, RequestError)
            empty = new and (refused or leftovers.is_new(folder))
            log.exception("the run failed: %s", command)  # Hydra does not log it
            reported = refused and rank() > 0  # by the first process
            keeps_on = sweeps and (world_size() == 1 or refused)  # else the other ranks would hang
            interrupted = isinstance(error, KeyboardInterrupt) and keeps_on
            code = RequestError.exit_code
            if not reported and not interrupted:
                code = failure.report(error, folder if keeps_on else None)
            if empty:
                leftovers.remove_run(folder, keep_note=keeps_on)
            if interrupted:
                raise
            if not keeps_on:
                sys.exit(code)
            return None  # the sweep continues and lists failed jobs at its end


def _run(composed: DictConfig, folder: Path, command: str, sweeps: bool) -> str | None:
    config = to_config(composed)
    settle(config)  # a wrong option is refused before the slow imports
    if written_at(folder) is None:  # a finished run needs no model
        refuse_absent(config.model)
    from dsnot_exp.launch.machine import take_share
    from dsnot_exp.run.job import run_experiment
    from dsnot_exp.utils.console import begin_job
    from dsnot_exp.utils.distributed import join
    from dsnot_exp.utils.quiet import quiet_libraries

    quiet_libraries()
    take_share()
    begin_job(HydraConfig.get().job.num + 1 if sweeps else None)
    join()
    result = run_experiment(config, folder, command, wait=not sweeps)
    return result["masks_sha256"] if result is not None else None
