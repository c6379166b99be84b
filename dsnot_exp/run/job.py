"""Runs one experiment and writes its result, unless it is finished or another process runs it."""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dsnot_exp.config import Config
from dsnot_exp.evaluate.suite import Suite
from dsnot_exp.results.assemble import assemble
from dsnot_exp.results.error_plot import error_figure
from dsnot_exp.results.file import (
    NOTE,
    finished,
    finished_with_model,
    write_result,
    written_at,
)
from dsnot_exp.results.summary import show_result
from dsnot_exp.results.tracking.tracking import Tracking
from dsnot_exp.run.experiment import SPARSE, Experiment
from dsnot_exp.run.fingerprint import config_hash
from dsnot_exp.run.inputs import Inputs
from dsnot_exp.run.lock import lock_folder
from dsnot_exp.run.measurements import Measurements
from dsnot_exp.run.model_card import complete_card, write_model_card
from dsnot_exp.run.plan import Plan, make_plan
from dsnot_exp.run.prepare import prepare
from dsnot_exp.run.shared import dense_store, pruned_store
from dsnot_exp.run.state import RunState
from dsnot_exp.run.track import begin_tracking, say_trackers, track_finished
from dsnot_exp.utils.console import Display, say, say_log
from dsnot_exp.utils.errors import RunError
from dsnot_exp.walk.hidden_states import Storage

COSTS = ("timing_s", "memory", "resumed", "reused", "reused_stages", "measured_earlier")
log = logging.getLogger(__name__)


def run_experiment(
    config: Config, folder: Path, command: str, wait: bool = True
) -> dict[str, Any] | None:
    """Run the experiment of `config`, write its result to `folder` and return it. Returns None if
    another process is running it and `wait` is false."""
    plan = make_plan(config)
    identity, ranks = config_hash(plan), plan.ranks
    with ranks.if_first(lock_folder(folder, wait), True) as locked:
        state = RunState.of(folder, identity, plan)
        found = None
        if ranks.first and not config.rerun:
            found = finished_with_model(folder, identity, config.save)
        done, ours = ranks.of_first((found, locked))
        if done is not None:
            state.clear()  # left by a process killed right after it wrote the result
            say(f"already finished: {folder} (rerun=true runs it again)")
            if config.save and ranks.first:
                complete_card(folder, done, config.model)
            show_result(done, folder)
            track_finished(config, folder, done, ranks)
            return done
        if not ours:
            say(f"skipped: another process is running {folder}")
            return None
        return _run(plan, identity, state, folder, command)


def _run(plan: Plan, identity: str, state: RunState, folder: Path, command: str) -> dict[str, Any]:
    clock = state.clock
    (folder / NOTE).unlink(missing_ok=True)
    log.info("command: %s", command)
    log.info("configuration: %s", asdict(plan.config))
    with clock("load"), Display() as display:
        plan, inputs = prepare(plan, display.phase)
    say_log()
    state.clear_if_before(written_at(folder))
    if plan.config.resume != "true":
        state.clear()
    state.resume_clock()
    state.refuse_full_disk(inputs.state_bytes + inputs.kept_bytes)
    with begin_tracking(plan, identity, folder, state) as tracking:
        result = _experiment(plan, inputs, identity, state, folder, command, tracking)
    if result["failed"]:
        failed = result["failed"]
        raise RunError(
            f"eval.tasks: {', '.join(failed)} failed ({next(iter(failed.values()))}); "
            f"the other results are in {folder / 'result.json'}; run the same command to retry"
        )
    state.clear()
    return result


def _experiment(
    plan: Plan,
    inputs: Inputs,
    identity: str,
    state: RunState,
    folder: Path,
    command: str,
    tracking: Tracking,
) -> dict[str, Any]:
    """Run it, and write its result."""
    config, ranks, clock = plan.config, plan.ranks, state.clock
    with Display() as display:
        suite = Suite(
            config.eval, inputs.evaluation, inputs.tasks, inputs.tokenizer,
            dense_store(plan, inputs.source), state.store, ranks, display, state.unfinished,
            Storage(config.calib.states, folder), task_bos=inputs.task_bos,
            on_value=tracking.measured,
        )  # fmt: skip
        measured = Measurements(suite, clock, state, pruned_store(plan, inputs), tracking)
        experiment = Experiment(plan, inputs, clock, display, state, measured, identity)
        outcome = experiment.run(folder)
    result = assemble(outcome, identity, command)
    earlier = None if config.rerun else finished(folder, identity)
    if earlier is not None and SPARSE in outcome.reused_stages:
        # The model was missing, not the result: what the run cost is known from before.
        result |= {key: earlier[key] for key in COSTS if key in earlier}
    if ranks.first:
        write_result(folder, result)  # first: a later failure must not lose the result
        if config.save:
            write_model_card(folder, result, inputs.source)
        figure = error_figure(outcome.records, folder.name, folder / "errors.png")
        show_result(result, folder)
        say_trackers(tracking.finish(result, figure))
    return result
